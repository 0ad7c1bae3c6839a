"""The layer of `hwnas.operators.avg_pool`: average pooling."""

from __future__ import annotations

from torch import nn

from hwnas.operators import AvgPool

__all__ = ["static"]


def static(operator: AvgPool) -> nn.Module:
    """The plain module."""
    is_odd = operator.kernel % 2 == 1
    return nn.AvgPool2d(
        operator.kernel, operator.stride, operator.kernel // 2 if is_odd else 0, ceil_mode=not is_odd,
        count_include_pad=False,
    )  # fmt: skip
