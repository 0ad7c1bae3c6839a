"""Max pooling."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.graph import GraphBuilder, Weights
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["MaxPool"]


@operator_kind("max_pool")
class MaxPool(Strided):
    """The largest of each window."""

    keeps_channels: ClassVar[bool] = True
    macs = parameters = norm_channels = 0

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        return graph.max_pool(value, self.kernel, self.stride)
