"""The layer of `hwnas.operators.max_pool`: max pooling."""

from __future__ import annotations

from torch import nn

from hwnas.operators import MaxPool

__all__ = ["static"]


def static(operator: MaxPool) -> nn.Module:
    """The plain module."""
    return nn.MaxPool2d(operator.kernel, operator.stride, operator.kernel // 2)
