"""Global average pooling."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.graph import GraphBuilder, Weights
from hwnas.operators.operator import Operator
from hwnas.operators.registry import operator_kind

__all__ = ["GlobalPool"]


@operator_kind("pool")
class GlobalPool(Operator):
    """The mean over height and width, which stay as axes of one pixel."""

    keeps_channels: ClassVar[bool] = True
    out_height = out_width = 1
    macs = parameters = norm_channels = 0

    @property
    def peak_activations(self) -> int:
        return self.in_height * self.in_width * self.in_channels + self.out_channels

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        return graph.pool(value, flat=flat)
