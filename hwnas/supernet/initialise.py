"""Fresh weights."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["initialise"]


def initialise(network: nn.Module, generator: torch.Generator | None = None) -> None:
    """Weights as once-for-all starts them: He normal over the fan out, BatchNorm at identity, linear layers uniform.

    Kernel transform matrices keep the identity that their layer gave them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.zeros_(module.bias)
