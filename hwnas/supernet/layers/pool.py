"""The layer of `hwnas.operators.pool`: global average pooling."""

from __future__ import annotations

from torch import nn

from hwnas.operators import GlobalPool

__all__ = ["static"]


def static(_: GlobalPool) -> nn.Module:
    """The plain module."""
    return nn.AdaptiveAvgPool2d(1)
