"""A skip connection to half the size."""

from __future__ import annotations

from hwnas.operators.operator import Operator
from hwnas.operators.registry import operator_kind

__all__ = ["FactorizedReduce"]


@operator_kind("factorized_reduce")
class FactorizedReduce(Operator):
    """ReLU, two 1×1 convolutions of stride 2, the second a pixel further down and right, side by side; batch norm
    (Liu et al., DARTS, 2019). Takes images of even height and width.
    """

    @property
    def out_height(self) -> int:
        return (self.in_height + 1) // 2

    @property
    def out_width(self) -> int:
        return (self.in_width + 1) // 2

    @property
    def macs(self) -> int:
        return self.out_height * self.out_width * self.in_channels * self.out_channels

    @property
    def parameters(self) -> int:
        return self.in_channels * self.out_channels + 2 * self.out_channels

    @property
    def norm_channels(self) -> int:
        return self.out_channels

    @property
    def peak_activations(self) -> int:
        written = self.out_height * self.out_width * self.out_channels
        return max(self.in_height * self.in_width * self.in_channels + written, 2 * written)
