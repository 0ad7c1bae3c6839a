"""Elastic layers whose input and output channels vary too: those of ResNets.

The input says how many of its channels are in use, the operator how many of the others.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.spaces import Operator
from hwnas.supernet.batch_norm import ACTIVATION_FUNCTIONS
from hwnas.supernet.elastic import ElasticLayer, sliced_conv
from hwnas.supernet.layers import Bottleneck, ConvBlock

__all__ = ["ElasticBottleneck", "ElasticConv", "ElasticLinear"]


class ElasticConv(ElasticLayer):
    """A convolution with BatchNorm and activation."""

    full: ConvBlock

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        act = ACTIVATION_FUNCTIONS[operator.activation]
        inner = act(sliced_conv(x, self.full, operator.out_channels, operator.stride))
        return x + inner if operator.residual else inner

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.conv]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full]


class ElasticBottleneck(ElasticLayer):
    """A ResNet-D bottleneck with elastic expand ratio and width."""

    full: Bottleneck

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
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

    @property
    def inner(self) -> list[tuple[list[ConvBlock], nn.Conv2d]]:
        return [([self.full.conv2], self.full.conv3.conv), ([self.full.conv1], self.full.conv2.conv)]

    @property
    def _projections(self) -> list[ConvBlock]:
        return [] if self.operator.residual else [self.full.downsample.project]


class ElasticLinear(ElasticLayer):
    """A fully connected layer of which the first inputs are used."""

    full: nn.Linear

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        return F.linear(x, self.full.weight[:, : operator.in_channels], self.full.bias)

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full]

    @property
    def producers(self) -> list[ConvBlock]:
        return []
