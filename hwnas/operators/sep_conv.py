"""Separable convolutions of cells."""

from __future__ import annotations

from collections.abc import Iterator

from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["SepConv"]


@operator_kind("sep_conv")
class SepConv(Strided):
    """ReLU, depthwise convolution, 1×1 convolution, batch norm (Liu et al., DARTS, 2019), `repeats` times.

    The first has the stride, the last the output's channels; taps are `dilation` pixels apart.
    """

    dilation: int = 1
    repeats: int = 2

    @property
    def macs(self) -> int:
        return sum(macs for macs, _ in self.kernels)

    @property
    def parameters(self) -> int:
        return sum(self.in_channels * (self.kernel**2 + out) + 2 * out for _, out in self._parts())

    @property
    def norm_channels(self) -> int:
        return sum(out for _, out in self._parts())

    @property
    def peak_activations(self) -> int:
        written = self.pixels[1]
        depthwise = max((read + written) * self.in_channels for read, _ in self._parts())
        return max(depthwise, written * (self.in_channels + self.out_channels))

    @property
    def kernels(self) -> tuple[tuple[int, int], ...]:
        inside, written, taps = self.in_channels, self.pixels[1], self.kernel**2
        found: list[tuple[int, int]] = []
        for read, out in self._parts():
            found.append((written * inside * taps, (read + written + taps) * inside))
            found.append((written * inside * out, written * (inside + out) + inside * out + 2 * out))
        return tuple(found)

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Of each repeat the pixels that it reads, and the channels that it gives."""
        for number in range(self.repeats):
            last = number == self.repeats - 1
            yield self.pixels[min(number, 1)], self.out_channels if last else self.in_channels
