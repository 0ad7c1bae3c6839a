"""Average pooling."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["AvgPool"]


@operator_kind("avg_pool")
class AvgPool(Strided):
    """The mean of each window's pixels inside of the image. An even `kernel` is the stride's, and has no padding."""

    keeps_channels: ClassVar[bool] = True
    macs = parameters = norm_channels = 0

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0 and self.kernel != self.stride:
            raise ValueError(f"avg_pool: expected an odd kernel, or the stride's, got {self.kernel} at {self.stride}")

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels
