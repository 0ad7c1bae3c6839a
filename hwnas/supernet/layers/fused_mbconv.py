"""Layers of `hwnas.operators.fused_mbconv`: the fused inverted bottleneck, and one whose widths vary.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.operators import FusedMBConv
from hwnas.supernet.batch_norm import ACTIVATION_FUNCTIONS, norm_act
from hwnas.supernet.layers.blocks import ConvBlock, Startable, activation, sliced_conv
from hwnas.supernet.layers.channels import sort_channels
from hwnas.supernet.layers.elastic import SharedLayer

__all__ = ["ElasticFusedBottleneck", "FusedBottleneck"]


class FusedBottleneck(nn.Module, Startable):
    """`expansion` and `projection`, and `act` where it ends so."""

    def __init__(self, operator: FusedMBConv) -> None:
        super().__init__()
        mid, act = operator.mid_channels, operator.activation
        self.expansion = ConvBlock(operator.in_channels, mid, operator.kernel, operator.stride, act=act)
        ends = operator.ends_active and not operator.residual
        self.projection = ConvBlock(mid, operator.out_channels, act=act if ends else "none")
        self.residual = operator.residual
        if operator.ends_active and operator.residual:
            self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the operator's output shape."""
        inner: Tensor = self.projection(self.expansion(x))
        if not self.residual:
            return inner
        result: Tensor = self.act(x + inner) if hasattr(self, "act") else x + inner
        return result

    def make_identity(self) -> None:
        if self.residual:
            nn.init.zeros_(self.projection.norm.weight)


class ElasticFusedBottleneck(SharedLayer[FusedMBConv]):
    """The first of its channels, in, inside and out."""

    full: FusedBottleneck

    def __init__(self, operators: Sequence[FusedMBConv]) -> None:
        super().__init__(operators, FusedBottleneck)

    def forward(self, x: Tensor, operator: FusedMBConv) -> Tensor:
        block, mid = self.full.expansion, operator.mid_channels
        weight = block.conv.weight[:mid, : x.shape[1]]
        inner = F.conv2d(x, weight, stride=operator.stride, padding=operator.kernel // 2)
        inner = norm_act(inner, block.norm, operator.activation)
        inner = sliced_conv(inner, self.full.projection, operator.out_channels)
        if operator.residual:
            inner = x + inner
        return ACTIVATION_FUNCTIONS[operator.activation](inner) if operator.ends_active else inner

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.expansion.conv]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full.projection]

    def sort_inside(self, used: Sequence[FusedMBConv]) -> None:
        widths = {operator.mid_channels for operator in used}
        sort_channels([self.full.expansion], self.full.projection.conv, widths)
