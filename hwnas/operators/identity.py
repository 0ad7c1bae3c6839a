"""Nothing but a way from one place to the next."""

from __future__ import annotations

from typing import ClassVar

from hwnas.operators.operator import Operator
from hwnas.operators.registry import operator_kind

__all__ = ["Identity"]


@operator_kind("identity")
class Identity(Operator):
    """What it takes is what it gives: an edge of a cell that skips, which costs no more than the addition behind it."""

    keeps_channels: ClassVar[bool] = True
    is_free: ClassVar[bool] = True
    macs = parameters = norm_channels = 0

    @property
    def out_height(self) -> int:
        return self.in_height

    @property
    def out_width(self) -> int:
        return self.in_width

    @property
    def peak_activations(self) -> int:
        return self.in_height * self.in_width * self.in_channels

    @property
    def kernels(self) -> tuple[tuple[int, int], ...]:
        return ((0, 2 * self.in_height * self.in_width * self.in_channels),)
