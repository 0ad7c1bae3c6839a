"""A fully connected layer."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.graph import GraphBuilder, Weights
from hwnas.operators.operator import Operator
from hwnas.operators.registry import operator_kind

__all__ = ["Linear"]


@operator_kind("linear")
class Linear(Operator):
    """A matrix product, and a bias."""

    takes_flat: ClassVar[bool] = True
    out_height = out_width = 1
    norm_channels = 0

    @property
    def macs(self) -> int:
        return self.in_channels * self.out_channels

    @property
    def parameters(self) -> int:
        return (self.in_channels + 1) * self.out_channels

    @property
    def peak_activations(self) -> int:
        return self.in_height * self.in_width * self.in_channels + self.out_channels

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        return graph.linear(value, weights.affine((self.out_channels, self.in_channels)))
