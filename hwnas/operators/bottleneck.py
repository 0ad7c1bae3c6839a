"""The bottleneck of ResNet-D (He et al., 2019)."""

from __future__ import annotations

from hwnas.operators.graph import RESIDUAL_SCALE, GraphBuilder, Weights
from hwnas.operators.operator import check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["Bottleneck"]


@operator_kind("bottleneck")
class Bottleneck(Strided):
    """1×1 to `mid_channels`, kernel × kernel, 1×1, addition of the input where `residual`, else of its average pool,
    where strided, and 1×1; activation.
    """

    mid_channels: int = 0
    residual: bool = False
    activation: str = "none"

    def __post_init__(self) -> None:
        check_activation(self, self.activation)

    @property
    def macs(self) -> int:
        pixels_in, pixels_out = self.pixels
        shortcut = 0 if self.residual else self.in_channels * self.out_channels
        inner = self.mid_channels**2 * self.kernel**2 + self.mid_channels * self.out_channels
        return pixels_in * self.in_channels * self.mid_channels + pixels_out * (inner + shortcut)

    @property
    def parameters(self) -> int:
        mid, shortcut = self.mid_channels, 0 if self.residual else self.in_channels * self.out_channels
        return mid * (self.in_channels + mid * self.kernel**2 + self.out_channels) + shortcut + 2 * self.norm_channels

    @property
    def norm_channels(self) -> int:
        return 2 * self.mid_channels + self.out_channels * (1 if self.residual else 2)

    @property
    def peak_activations(self) -> int:
        pixels_in, pixels_out = self.pixels
        given, result = pixels_in * self.in_channels, pixels_out * self.out_channels
        wide, narrow = pixels_in * self.mid_channels, pixels_out * self.mid_channels
        if self.residual:
            return given + max(wide + narrow, narrow + result)
        pooled = pixels_out * self.in_channels if self.stride > 1 else 0
        return result + max(given + pooled, given + wide, wide + narrow, narrow + result)

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        mid, out, act, shortcut = self.mid_channels, self.out_channels, self.activation, value
        if not self.residual:
            pooled = graph.average_pool(value, self.stride) if self.stride > 1 else value
            projection = weights.affine((out, self.in_channels, 1, 1), scale=RESIDUAL_SCALE)
            shortcut = graph.convolution(pooled, projection)
        inner = graph.convolution(value, weights.affine((mid, self.in_channels, 1, 1)), activation=act)
        middle = weights.affine((mid, mid, self.kernel, self.kernel))
        inner = graph.convolution(inner, middle, stride=self.stride, activation=act)
        inner = graph.convolution(inner, weights.affine((out, mid, 1, 1), scale=RESIDUAL_SCALE))
        return graph.add(inner, shortcut, activation=act)
