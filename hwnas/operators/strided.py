"""What operators with a window have in common."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.operators.operator import Operator

__all__ = ["Strided"]


@dataclass(frozen=True)
class Strided(Operator):
    """An operator with a window of `kernel` × `kernel` pixels, odd, and padding kernel // 2, that moves by `stride`."""

    kernel: int = 1
    stride: int = 1

    @property
    def out_height(self) -> int:
        return (self.in_height - 1) // self.stride + 1

    @property
    def out_width(self) -> int:
        return (self.in_width - 1) // self.stride + 1

    @property
    def pixels(self) -> tuple[int, int]:
        """Of what it takes, and of what it gives."""
        return self.in_height * self.in_width, self.out_height * self.out_width
