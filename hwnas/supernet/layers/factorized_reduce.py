"""The layer of `hwnas.operators.factorized_reduce`: a skip connection to half the size.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.operators import FactorizedReduce

__all__ = ["FactorizedReduction", "static"]


def static(operator: FactorizedReduce) -> nn.Module:
    """The plain module."""
    return FactorizedReduction(operator.in_channels, operator.out_channels)


class FactorizedReduction(nn.Module):
    """Two 1×1 convolutions of every second pixel, half of the channels each."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.even = nn.Conv2d(in_channels, half, 1, 2, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - half, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to half of H and W, which are even."""
        x = F.relu(x)
        result: Tensor = self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))
        return result
