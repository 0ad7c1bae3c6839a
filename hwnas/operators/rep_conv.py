"""The re-parameterised convolution of RepVGG, MobileOne and RepViT (Ding et al., 2021; Vasu et al., 2023)."""

from __future__ import annotations

from hwnas.operators.graph import GraphBuilder, Weights
from hwnas.operators.operator import Field, check_activation
from hwnas.operators.registry import operator_kind
from hwnas.operators.strided import Strided

__all__ = ["RepConv"]


@operator_kind("rep_conv")
class RepConv(Strided):
    """One convolution with a bias, and activation: what is left of several branches once they are trained.

    In training these are `branches` convolutions of the kernel, one of 1×1 where the kernel is larger, and the input
    itself where it has the output's shape, each with BatchNorm, added up. All that an operator costs is the fused
    convolution's.
    """

    depthwise: bool = False
    activation: str = "none"
    branches: int = 1

    norm_channels = 0

    def __post_init__(self) -> None:
        check_activation(self, self.activation)
        if self.branches < 1:
            raise ValueError(f"{self}: expected 1 branch or more, got {self.branches}")
        if self.depthwise and self.in_channels != self.out_channels:
            raise ValueError(f"{self}: a depthwise convolution gives as many channels as it takes")

    @property
    def identity(self) -> bool:
        """Whether the input itself is a branch."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def ties_channels(self) -> bool:
        return self.depthwise or self.identity

    @property
    def macs(self) -> int:
        return self.pixels[1] * self._weights

    @property
    def parameters(self) -> int:
        """With the bias, which is all that is left of BatchNorm."""
        return self._weights + self.out_channels

    @property
    def peak_activations(self) -> int:
        return self.pixels[0] * self.in_channels + self.pixels[1] * self.out_channels

    @property
    def traits(self) -> dict[str, Field]:
        return {key: value for key, value in super().traits.items() if key != "branches"}  # nothing measured has them

    def append(self, graph: GraphBuilder, value: str, weights: Weights, flat: bool) -> str:
        affine = weights.affine((self.out_channels, self._inputs, self.kernel, self.kernel))
        return graph.convolution(
            value, affine, stride=self.stride, depthwise=self.depthwise, activation=self.activation
        )

    @property
    def _inputs(self) -> int:
        """Channels that one of the output is computed from."""
        return 1 if self.depthwise else self.in_channels

    @property
    def _weights(self) -> int:
        return self.out_channels * self._inputs * self.kernel**2
