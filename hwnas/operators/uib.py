"""The universal inverted bottleneck of MobileNetV4 (Qin et al., 2024, section 3)."""

from __future__ import annotations

from hwnas.operators.graph import LINEAR_SCALE, RESIDUAL_SCALE, GraphBuilder, Weights
from hwnas.operators.operator import check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["UIB"]


@operator_kind("uib")
class UIB(Strided):
    """Depthwise convolution of `start_kernel`, 1×1 expansion to `mid_channels`, depthwise convolution of `kernel`, 1×1
    projection, addition of the input where `residual`. Activations follow the expansion and what comes after it, but
    not the projection.

    Either depthwise convolution may be missing, its kernel 0: with both it is the paper's extra depthwise block, with
    the second alone an inverted bottleneck, with the first alone a ConvNeXt-like one, with neither a feed-forward one.
    The stride is in the last of them.
    """

    kernel: int = 0
    mid_channels: int = 0
    start_kernel: int = 0
    residual: bool = False
    activation: str = "relu"

    def __post_init__(self) -> None:
        check_activation(self, self.activation)
        if self.stride > 1 and not (self.kernel or self.start_kernel):
            raise ValueError(f"{self}: a stride needs a depthwise convolution, of kernel or start_kernel")

    @property
    def strides(self) -> tuple[int, int]:
        """Of the first and of the second depthwise convolution."""
        return (1, self.stride) if self.kernel else (self.stride, 1)

    @property
    def macs(self) -> int:
        return sum(macs for macs, _ in self.kernels)

    @property
    def parameters(self) -> int:
        mid = self.mid_channels
        weights = self.in_channels * (self.start_kernel**2 + mid) + mid * (self.kernel**2 + self.out_channels)
        return weights + 2 * self.norm_channels

    @property
    def norm_channels(self) -> int:
        start, middle = self.in_channels if self.start_kernel else 0, self.mid_channels if self.kernel else 0
        return start + self.mid_channels + middle + self.out_channels

    @property
    def peak_activations(self) -> int:
        given, *values = self._values
        kept = given if self.residual else 0
        pairs = zip([given, *values], values, strict=False)
        return max(before + after + (kept if number else 0) for number, (before, after) in enumerate(pairs))

    @property
    def kernels(self) -> list[tuple[int, int]]:
        """The addition is part of the projection."""
        pixels_in, pixels_out = self.pixels
        inside = pixels_in if self.kernel else pixels_out
        channels, mid, out = self.in_channels, self.mid_channels, self.out_channels
        found = []
        if self.start_kernel:
            taps = self.start_kernel**2
            found.append((inside * channels * taps, (pixels_in + inside + taps + 1) * channels))
        weights = channels * mid
        found.append((inside * weights, inside * (channels + mid) + weights + mid))
        if self.kernel:
            taps = self.kernel**2
            found.append((pixels_out * mid * taps, (pixels_in + pixels_out + taps + 1) * mid))
        weights, written = mid * out, pixels_out * out
        moved = pixels_out * mid + weights + out + written + (written if self.residual else 0)
        return [*found, (pixels_out * weights, moved)]

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        start, mid, (first, second) = value, self.mid_channels, self.strides
        if self.start_kernel:
            depthwise = weights.affine((self.in_channels, 1, *[self.start_kernel] * 2), scale=LINEAR_SCALE)
            value = graph.convolution(value, depthwise, stride=first, depthwise=True)
        expansion = weights.affine((mid, self.in_channels, 1, 1), scale=LINEAR_SCALE)
        value = graph.convolution(value, expansion, activation=self.activation)
        if self.kernel:
            depthwise = weights.affine((mid, 1, self.kernel, self.kernel))
            value = graph.convolution(value, depthwise, stride=second, depthwise=True, activation=self.activation)
        scale = RESIDUAL_SCALE if self.residual else 1.0
        value = graph.convolution(value, weights.affine((self.out_channels, mid, 1, 1), scale=scale))
        return graph.add(start, value) if self.residual else value

    @property
    def _values(self) -> list[int]:
        """How many numbers each value has, from what is given to what is returned."""
        pixels_in, pixels_out = self.pixels
        inside = pixels_in if self.kernel else pixels_out
        values = [pixels_in * self.in_channels]
        values += [inside * self.in_channels] if self.start_kernel else []
        values += [inside * self.mid_channels]
        values += [pixels_out * self.mid_channels] if self.kernel else []
        return [*values, pixels_out * self.out_channels]
