"""The optimiser of a phase."""

from __future__ import annotations

import torch
from torch import nn

from hwnas.training.config import TrainingConfig

__all__ = ["make_optimiser"]


def make_optimiser(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; no weight decay on BatchNorm and biases, which are the parameters of one axis."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    spared = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    nesterov = config.momentum > 0
    return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=nesterov)
