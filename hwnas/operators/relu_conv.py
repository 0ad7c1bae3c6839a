"""A convolution that an activation comes before."""

from __future__ import annotations

from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["ReluConv"]


@operator_kind("relu_conv")
class ReluConv(Strided):
    """ReLU, convolution, batch norm: what cells are made of, whose edges add up before the next activation."""

    @property
    def macs(self) -> int:
        return self.pixels[1] * self.in_channels * self.out_channels * self.kernel**2

    @property
    def parameters(self) -> int:
        return self.in_channels * self.out_channels * self.kernel**2 + 2 * self.out_channels

    @property
    def norm_channels(self) -> int:
        return self.out_channels

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels
