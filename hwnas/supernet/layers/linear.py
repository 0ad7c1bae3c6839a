"""Layers of `hwnas.operators.linear`: a fully connected layer, and one whose inputs vary."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.operators import Linear
from hwnas.supernet.layers.blocks import ConvBlock
from hwnas.supernet.layers.elastic import SharedLayer

__all__ = ["ElasticLinear", "static"]


def static(operator: Linear) -> nn.Linear:
    """The plain module."""
    return nn.Linear(operator.in_channels, operator.out_channels)


class ElasticLinear(SharedLayer[Linear]):
    """A fully connected layer of which the first inputs are used."""

    full: nn.Linear

    def __init__(self, operators: Sequence[Linear]) -> None:
        super().__init__(operators, static)

    def forward(self, x: Tensor, operator: Linear) -> Tensor:
        return F.linear(x, self.full.weight[:, : operator.in_channels], self.full.bias)

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full]

    @property
    def producers(self) -> list[ConvBlock]:
        return []
