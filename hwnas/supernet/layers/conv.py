"""Layers of `hwnas.operators.conv`: a convolution, and one whose widths vary.

Shapes: B images, C channels, H × W pixels. The input says how many of its channels are in use, the operator how many of
the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hwnas.operators import Conv
from hwnas.supernet.batch_norm import ACTIVATION_FUNCTIONS
from hwnas.supernet.layers.blocks import ConvBlock, Startable, sliced_conv
from hwnas.supernet.layers.elastic import SharedLayer

__all__ = ["ElasticConv", "ResidualConvBlock", "static"]


def static(operator: Conv) -> ConvBlock:
    """The plain module."""
    sizes = operator.in_channels, operator.out_channels, operator.kernel, operator.stride
    block = ResidualConvBlock if operator.residual else ConvBlock
    return block(*sizes, act=operator.activation, norm=operator.norm)


class ResidualConvBlock(ConvBlock, Startable):
    """A `ConvBlock` whose input is added to its output."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same."""
        return x + super().forward(x)

    def make_identity(self) -> None:
        nn.init.zeros_(self.norm.weight)


class ElasticConv(SharedLayer[Conv]):
    """A convolution with BatchNorm and activation."""

    full: ConvBlock

    def __init__(self, operators: Sequence[Conv]) -> None:
        super().__init__(operators, static)

    def forward(self, x: Tensor, operator: Conv) -> Tensor:
        act = ACTIVATION_FUNCTIONS[operator.activation]
        inner = act(sliced_conv(x, self.full, operator.out_channels, operator.stride))
        return x + inner if operator.residual else inner

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.conv]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full]
