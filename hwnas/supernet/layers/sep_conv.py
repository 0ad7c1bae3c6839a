"""The layer of `hwnas.operators.sep_conv`: separable convolutions of cells."""

from __future__ import annotations

from torch import nn

from hwnas.operators import SepConv
from hwnas.supernet.layers.blocks import ConvBlock

__all__ = ["static"]


def static(operator: SepConv) -> nn.Module:
    """The plain module."""
    channels, padding = operator.in_channels, operator.dilation * (operator.kernel // 2)
    parts: list[nn.Module] = []
    for number in range(operator.repeats):
        stride = operator.stride if number == 0 else 1
        out = operator.out_channels if number == operator.repeats - 1 else channels
        parts += [
            nn.ReLU(),
            nn.Conv2d(channels, channels, operator.kernel, stride, padding, operator.dilation, channels, bias=False),
            ConvBlock(channels, out),
        ]
    return nn.Sequential(*parts)
