"""The fused inverted bottleneck of EfficientNet-EdgeTPU and MobileNetV4 (Gupta and Akin, 2020; Qin et al., 2024)."""

from __future__ import annotations

from hwnas.operators.graph import RESIDUAL_SCALE, GraphBuilder, Weights
from hwnas.operators.operator import check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["FusedMBConv"]


@operator_kind("fused_mbconv")
class FusedMBConv(Strided):
    """kernel × kernel convolution to `mid_channels`, activation, 1×1 projection, addition of the input where
    `residual`; the activation once more where `ends_active`, as in MobileNetV4's Conv-Small.
    """

    mid_channels: int = 0
    residual: bool = False
    activation: str = "relu"
    ends_active: bool = False

    def __post_init__(self) -> None:
        check_activation(self, self.activation)

    @property
    def macs(self) -> int:
        return sum(macs for macs, _ in self.kernels)

    @property
    def parameters(self) -> int:
        mid = self.mid_channels
        return mid * (self.in_channels * self.kernel**2 + self.out_channels) + 2 * self.norm_channels

    @property
    def norm_channels(self) -> int:
        return self.mid_channels + self.out_channels

    @property
    def peak_activations(self) -> int:
        pixels_in, pixels_out = self.pixels
        given, wide, result = (
            pixels_in * self.in_channels,
            pixels_out * self.mid_channels,
            pixels_out * self.out_channels,
        )
        return max(given + wide, wide + result + (given if self.residual else 0))

    @property
    def kernels(self) -> list[tuple[int, int]]:
        """The addition is part of the projection."""
        pixels_in, pixels_out = self.pixels
        mid, written = self.mid_channels, pixels_out * self.out_channels
        weights = self.in_channels * mid * self.kernel**2
        first = (pixels_out * weights, pixels_in * self.in_channels + pixels_out * mid + weights + mid)
        weights = mid * self.out_channels
        moved = pixels_out * mid + weights + self.out_channels + written + (written if self.residual else 0)
        return [first, (pixels_out * weights, moved)]

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        shape = (self.mid_channels, self.in_channels, self.kernel, self.kernel)
        inner = graph.convolution(value, weights.affine(shape), stride=self.stride, activation=self.activation)
        scale = RESIDUAL_SCALE if self.residual else 1.0
        projection = weights.affine((self.out_channels, self.mid_channels, 1, 1), scale=scale)
        act = self.activation if self.ends_active else "none"
        if not self.residual:
            return graph.convolution(inner, projection, activation=act)
        return graph.add(value, graph.convolution(inner, projection), activation=act)
