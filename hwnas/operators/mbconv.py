"""The inverted residual block of MobileNetV2 and V3 (Sandler et al., 2018; Howard et al., 2019)."""

from __future__ import annotations

from hwnas.operators.graph import LINEAR_SCALE, RESIDUAL_SCALE, GraphBuilder, Weights
from hwnas.operators.operator import Field, check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided
from hwnas.operators.widths import make_divisible

__all__ = ["MBConv"]

_GATE_MEAN = 0.5


@operator_kind("mbconv")
class MBConv(Strided):
    """1×1 expansion to `mid_channels` unless there are as many, depthwise convolution, squeeze-and-excitation where
    `se`, 1×1 projection, addition of the input where `residual`; the activation is inside.
    """

    mid_channels: int = 0
    residual: bool = False
    se: bool = False
    activation: str = "none"

    def __post_init__(self) -> None:
        check_activation(self, self.activation)

    @property
    def expands(self) -> bool:
        """Whether it starts with a 1×1 expansion."""
        return self.mid_channels != self.in_channels

    @property
    def se_channels(self) -> int:
        """Width of the squeeze-and-excitation bottleneck, 0 without one (reduction 4, divisible by 8)."""
        return make_divisible(self.mid_channels // 4) if self.se else 0

    @property
    def macs(self) -> int:
        return sum(macs for macs, _ in self.kernels)

    @property
    def parameters(self) -> int:
        mid, narrow = self.mid_channels, self.se_channels
        expansion = self.in_channels * mid if self.expands else 0
        squeeze = 2 * mid * narrow + mid + narrow if self.se else 0
        return expansion + mid * (self.kernel**2 + self.out_channels) + squeeze + 2 * self.norm_channels

    @property
    def norm_channels(self) -> int:
        return self.mid_channels * (2 if self.expands else 1) + self.out_channels

    @property
    def peak_activations(self) -> int:
        pixels_in, pixels_out = self.pixels
        given, result = pixels_in * self.in_channels, pixels_out * self.out_channels
        wide, narrow = pixels_in * self.mid_channels, pixels_out * self.mid_channels
        kept = given if self.residual else 0
        if not self.expands:
            return max(given + narrow, kept + narrow + result)
        return max(given + wide, kept + wide + narrow, kept + narrow + result)

    @property
    def kernels(self) -> list[tuple[int, int]]:
        """The addition is part of the projection."""
        pixels_in, pixels_out = self.pixels
        mid, written = self.mid_channels, pixels_out * self.out_channels
        found = []
        if self.expands:
            weights = self.in_channels * mid
            found.append((pixels_in * weights, pixels_in * (self.in_channels + mid) + weights + mid))
        taps = self.kernel**2
        found.append((pixels_out * mid * taps, (pixels_in + pixels_out + taps + 1) * mid))
        if self.se:
            weights = 2 * mid * self.se_channels
            found.append((weights, 3 * pixels_out * mid + weights))  # read for the mean, read and written to multiply
        weights = mid * self.out_channels
        moved = pixels_out * mid + weights + self.out_channels + written
        return [*found, (pixels_out * weights, moved + (written if self.residual else 0))]

    @property
    def traits(self) -> dict[str, Field]:
        return {**super().traits, "expands": self.expands}

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        mid, start, act = self.mid_channels, value, self.activation
        if self.expands:
            expansion = weights.affine((mid, self.in_channels, 1, 1), scale=LINEAR_SCALE)
            value = graph.convolution(value, expansion, activation=act)
        depthwise = weights.affine((mid, 1, self.kernel, self.kernel))
        value = graph.convolution(value, depthwise, stride=self.stride, depthwise=True, activation=act)
        if self.se:
            squeezed = weights.affine((self.se_channels, mid, 1, 1))
            value = graph.squeeze_excite(value, squeezed, weights.affine((mid, self.se_channels, 1, 1)))
        # Gates halve what passes them; residual sums grow from block to block. Both are evened out here.
        scale = (1 / _GATE_MEAN if self.se else 1.0) * (RESIDUAL_SCALE if self.residual else 1.0)
        value = graph.convolution(value, weights.affine((self.out_channels, mid, 1, 1), scale=scale))
        return graph.add(start, value) if self.residual else value
