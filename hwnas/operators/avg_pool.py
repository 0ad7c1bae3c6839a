"""Average pooling."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["AvgPool"]


@operator_kind("avg_pool")
class AvgPool(Strided):
    """The mean of each window, of the pixels that are inside of the image alone. An even `kernel` has no padding."""

    keeps_channels: ClassVar[bool] = True
    macs = parameters = norm_channels = 0

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels
