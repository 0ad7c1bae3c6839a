"""The reference implementation (PyPI package ofa, MIT), with weights that are nowhere at their initial values."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import nn
from torchvision_operators import declare_torchvision_operators


def networks() -> Any:
    """The package's module of elastic networks."""
    declare_torchvision_operators()
    import ofa.imagenet_classification.elastic_nn.networks as module

    return module


def build(family: str, classes: int = 1000, width_mult: float = 1.0) -> Any:
    """A published network, with random weights, BatchNorm statistics and kernel transforms; no dropout."""
    module = networks()
    if family == "ofa_resnet50":
        network = module.OFAResNets(
            n_classes=classes, dropout_rate=0, depth_list=[0, 1, 2], expand_ratio_list=[0.2, 0.25, 0.35],
            width_mult_list=[0.65, 0.8, 1.0],
        )  # fmt: skip
    else:
        kind = {"ofa_mbv3": module.OFAMobileNetV3, "ofa_proxyless": module.OFAProxylessNASNets}[family]
        network = kind(
            n_classes=classes, dropout_rate=0, width_mult=width_mult, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6],
            depth_list=[2, 3, 4],
        )  # fmt: skip
    randomise(network)
    return network.eval()


@torch.no_grad()
def randomise(network: nn.Module) -> None:
    """Draw all weights and kernel transforms, and BatchNorm statistics near those of random images."""
    generator = torch.Generator().manual_seed(0)

    def noise(value: torch.Tensor, scale: float) -> torch.Tensor:
        return scale * torch.randn(value.shape, generator=generator)

    for name, value in network.state_dict().items():
        if name.endswith("_matrix"):
            value.add_(noise(value, 0.05))
        elif value.ndim > 1:
            nn.init.kaiming_normal_(value, generator=generator)
        elif name.endswith("bias"):
            value.copy_(noise(value, 0.2))
        elif name.endswith("weight"):
            value.copy_(1 + noise(value, 0.2))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    network.train()(torch.randn(4, 3, 64, 64, generator=generator))
    for norm in norms:
        norm.momentum = 0.1
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.add_(noise(norm.running_mean, 0.1))
        norm.running_var.mul_(1 + noise(norm.running_var, 0.2).abs())


def activate(network: Any, arch: dict[str, Any]) -> None:
    """Make an arch, as a space writes it, the network's active subnet."""
    network.set_active_subnet(**{key: value for key, value in arch.items() if key not in ("space", "r")})


def sample(network: Any, seed: int) -> dict[str, Any]:
    """A random arch of the network, as it writes it, which becomes its active subnet."""
    random.seed(seed)
    arch: dict[str, Any] = network.sample_active_subnet()
    return arch
