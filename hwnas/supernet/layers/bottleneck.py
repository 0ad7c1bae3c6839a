"""Layers of `hwnas.operators.bottleneck`: ResNet-D's block, and one whose widths vary.

Shapes: B images, C channels, H × W pixels. The input says how many of its channels are in use, the operator how many of
the others.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from hwnas.operators import Bottleneck
from hwnas.supernet.batch_norm import ACTIVATION_FUNCTIONS
from hwnas.supernet.layers.blocks import ConvBlock, Startable, activation, sliced_conv
from hwnas.supernet.layers.channels import sort_channels
from hwnas.supernet.layers.elastic import SharedLayer

__all__ = ["BottleneckBlock", "ElasticBottleneck", "PooledProjection"]


class PooledProjection(nn.Sequential):
    """A bottleneck's shortcut where shapes change: average `pool`, where strided, and `project`, 1×1 with BatchNorm."""

    def __init__(self, operator: Bottleneck) -> None:
        super().__init__()
        if operator.stride > 1:
            self.pool = nn.AvgPool2d(operator.stride, ceil_mode=True)
        self.project = ConvBlock(operator.in_channels, operator.out_channels)


class BottleneckBlock(nn.Module, Startable):
    """The static form of a `bottleneck` operator: `conv1` to `conv3`, and `downsample` where the shortcut has weights.

    As ResNet-D has it (He et al., 2019): the stride is in `conv2`, and in an average pool before the shortcut's 1×1.
    """

    def __init__(self, operator: Bottleneck) -> None:
        super().__init__()
        mid, act = operator.mid_channels, operator.activation
        self.conv1 = ConvBlock(operator.in_channels, mid, act=act)
        self.conv2 = ConvBlock(mid, mid, operator.kernel, operator.stride, act=act)
        self.conv3 = ConvBlock(mid, operator.out_channels)
        if not operator.residual:
            self.downsample = PooledProjection(operator)
        self.residual = operator.residual
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the operator's output shape."""
        shortcut = x if self.residual else self.downsample(x)
        result: Tensor = self.act(self.conv3(self.conv2(self.conv1(x))) + shortcut)
        return result

    def make_identity(self) -> None:
        if self.residual:
            nn.init.zeros_(self.conv3.norm.weight)


class ElasticBottleneck(SharedLayer[Bottleneck]):
    """A ResNet-D bottleneck with elastic expand ratio and width."""

    full: BottleneckBlock

    def __init__(self, operators: Sequence[Bottleneck]) -> None:
        super().__init__(operators, BottleneckBlock)

    def forward(self, x: Tensor, operator: Bottleneck) -> Tensor:
        act, shortcut = ACTIVATION_FUNCTIONS[operator.activation], x
        if not operator.residual:
            pooled = self.full.downsample.pool(x) if operator.stride > 1 else x
            shortcut = sliced_conv(pooled, self.full.downsample.project, operator.out_channels)
        inner = act(sliced_conv(x, self.full.conv1, operator.mid_channels))
        inner = act(sliced_conv(inner, self.full.conv2, operator.mid_channels, operator.stride))
        return act(sliced_conv(inner, self.full.conv3, operator.out_channels) + shortcut)

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.conv1.conv, *(block.conv for block in self._projections)]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full.conv3, *self._projections]

    def sort_inside(self, used: Sequence[Bottleneck]) -> None:
        widths = {operator.mid_channels for operator in used}
        sort_channels([self.full.conv2], self.full.conv3.conv, widths)
        sort_channels([self.full.conv1], self.full.conv2.conv, widths)

    @property
    def _projections(self) -> list[ConvBlock]:
        return [] if self.operator.residual else [self.full.downsample.project]
