"""A convolution."""

from __future__ import annotations

from hwnas.operators.graph import RESIDUAL_SCALE, GraphBuilder, Weights
from hwnas.operators.operator import Field, check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["Conv"]


@operator_kind("conv")
class Conv(Strided):
    """Convolution, batch norm where `norm`, activation, addition of the input where `residual`."""

    residual: bool = False
    activation: str = "none"
    norm: bool = True

    def __post_init__(self) -> None:
        check_activation(self, self.activation)

    @property
    def macs(self) -> int:
        return self.pixels[1] * self.in_channels * self.out_channels * self.kernel**2

    @property
    def parameters(self) -> int:
        return self.in_channels * self.out_channels * self.kernel**2 + 2 * self.norm_channels

    @property
    def norm_channels(self) -> int:
        return self.out_channels if self.norm else 0

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels

    @property
    def traits(self) -> dict[str, Field]:
        return {key: value for key, value in super().traits.items() if key != "norm"}  # nothing measured has it

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        shape = (self.out_channels, self.in_channels, self.kernel, self.kernel)
        affine = weights.affine(shape, scale=RESIDUAL_SCALE if self.residual else 1.0, bias=self.norm)
        output = graph.convolution(value, affine, stride=self.stride, activation=self.activation)
        return graph.add(value, output) if self.residual else output
