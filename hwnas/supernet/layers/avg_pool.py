"""The layer of `hwnas.operators.avg_pool`: average pooling."""

from __future__ import annotations

from torch import nn

from hwnas.operators import AvgPool

__all__ = ["static"]


def static(operator: AvgPool) -> nn.Module:
    """The plain module."""
    if operator.kernel % 2 == 0:
        return nn.AvgPool2d(operator.kernel, operator.stride, ceil_mode=True)
    return nn.AvgPool2d(operator.kernel, operator.stride, operator.kernel // 2, count_include_pad=False)
