"""Layers of `hwnas.operators.uib`: the universal inverted bottleneck, and one whose form, kernels and widths vary.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from hwnas.operators import UIB
from hwnas.supernet.batch_norm import conv_norm_act, norm_act, sliced_batch_norm
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers.blocks import ConvBlock, ResidualChain, sliced_conv
from hwnas.supernet.layers.channels import sort_channels
from hwnas.supernet.layers.elastic import ElasticLayer, largest
from hwnas.supernet.layers.kernels import kernel_transforms, smaller_filters

__all__ = ["ElasticUniversalBottleneck", "UniversalBottleneck"]


class UniversalBottleneck(ResidualChain):
    """`start`, `expansion`, `depthwise`, `projection`; a depthwise convolution that the operator lacks is left out."""

    def __init__(self, operator: UIB) -> None:
        super().__init__()
        channels, mid, act = operator.in_channels, operator.mid_channels, operator.activation
        first, second = operator.strides
        if operator.start_kernel:
            self.start = ConvBlock(channels, channels, operator.start_kernel, first, groups=channels)
        self.expansion = ConvBlock(channels, mid, act=act)
        if operator.kernel:
            self.depthwise = ConvBlock(mid, mid, operator.kernel, second, groups=mid, act=act)
        self.projection = ConvBlock(mid, operator.out_channels)
        self.residual = operator.residual


class ElasticUniversalBottleneck(ElasticLayer[UIB]):
    """All forms share the 1×1 convolutions; each depthwise convolution has elastic kernels, and may be left out.

    A smaller kernel is made of a larger as in `hwnas.supernet.layers.kernels`; fewer channels are the first.
    """

    def __init__(self, operators: Sequence[UIB]) -> None:
        super().__init__()
        self.operator = replace(largest(operators), stride=operators[0].stride)
        self.full = UniversalBottleneck(self.operator)
        self.start_kernels = sorted({one.start_kernel for one in operators} - {0})
        self.kernels = sorted({one.kernel for one in operators} - {0})
        self.start_transforms = kernel_transforms(self.start_kernels)
        self.transforms = kernel_transforms(self.kernels)

    def forward(self, x: Tensor, operator: UIB) -> Tensor:
        full, act, mid = self.full, operator.activation, operator.mid_channels
        first, second = operator.strides
        inner = x
        if operator.start_kernel:
            filters = self._start_filters(operator.start_kernel, x.shape[1])
            inner = sliced_batch_norm(depthwise_conv(inner, filters, first), full.start.norm)
        weight = full.expansion.conv.weight[:mid, : x.shape[1]]
        inner = conv_norm_act(inner, weight, full.expansion.norm, act)
        if operator.kernel:
            inner = depthwise_conv(inner, self._filters(operator.kernel, mid), second)
            inner = norm_act(inner, full.depthwise.norm, act)
        inner = sliced_conv(inner, full.projection, operator.out_channels)
        return x + inner if operator.residual else inner

    def state_of(self, operator: UIB) -> Mapping[str, Tensor]:
        state: dict[str, Tensor] = dict(self.full.state_dict())
        if operator.start_kernel:
            state["start.conv.weight"] = self._start_filters(operator.start_kernel, operator.in_channels)
        if operator.kernel:
            state["depthwise.conv.weight"] = self._filters(operator.kernel, operator.mid_channels)
        return state

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.expansion.conv]

    @property
    def carriers(self) -> list[ConvBlock]:
        return [self.full.start] if self.start_kernels else []

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full.projection]

    def sort_inside(self, used: Sequence[UIB]) -> None:
        parts = [self.full.expansion, *([self.full.depthwise] if self.kernels else [])]
        sort_channels(parts, self.full.projection.conv, {operator.mid_channels for operator in used})

    def _start_filters(self, kernel: int, channels: int) -> Tensor:
        filters = self.full.start.conv.weight[:channels]
        return smaller_filters(filters, kernel, self.start_kernels, self.start_transforms)

    def _filters(self, kernel: int, mid: int) -> Tensor:
        return smaller_filters(self.full.depthwise.conv.weight[:mid], kernel, self.kernels, self.transforms)
