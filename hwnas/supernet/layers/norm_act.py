"""The layer of `hwnas.operators.norm_act`: batch norm that no convolution comes before."""

from __future__ import annotations

from torch import nn

from hwnas.operators import NormAct
from hwnas.supernet.layers.blocks import activation

__all__ = ["static"]


def static(operator: NormAct) -> nn.Module:
    """The plain module."""
    return nn.Sequential(nn.BatchNorm2d(operator.in_channels), activation(operator.activation))
