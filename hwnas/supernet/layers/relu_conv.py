"""The layer of `hwnas.operators.relu_conv`: a convolution that an activation comes before."""

from __future__ import annotations

from torch import nn

from hwnas.operators import ReluConv
from hwnas.supernet.layers.blocks import ConvBlock

__all__ = ["static"]


def static(operator: ReluConv) -> nn.Module:
    """The plain module."""
    sizes = operator.in_channels, operator.out_channels, operator.kernel, operator.stride
    return nn.Sequential(nn.ReLU(), ConvBlock(*sizes))
