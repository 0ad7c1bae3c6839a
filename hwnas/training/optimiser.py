"""The optimiser of a phase."""

from __future__ import annotations

import torch
from torch import nn

from hwnas.training.config import PhaseConfig, TrainingConfig

__all__ = ["make_optimiser"]


def make_optimiser(network: nn.Module, config: TrainingConfig, phase: PhaseConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum or AdamW; no weight decay on BatchNorm and biases, the parameters of one axis.

    BigNAS regularises the largest network alone. Weight decay is added once a step to the sum of the subnets'
    gradients, which is the same as a penalty in the loss of one of them; so with the in-place teacher it is the
    largest's, once the kernel transforms, which the largest doesn't use, are spared as well.
    """
    in_place = phase.teacher == "in_place"
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_spared = parameter.ndim <= 1 or (in_place and "transforms" in name.split("."))
        (spared if is_spared else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    if config.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=0.0, betas=(config.momentum, 0.999))
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.momentum > 0)
