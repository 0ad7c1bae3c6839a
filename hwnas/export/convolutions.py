"""What several formats have to know of convolutions: how they are padded, and which are better split. No torch."""

from __future__ import annotations

__all__ = ["row_dilation", "row_groups", "same_is_symmetric"]

_TAPS = 25
"""XNNPACK's depthwise kernels hold no more: see `hwnas.export.tflite.depthwise`."""


def row_groups(kernel: int) -> list[tuple[int, ...]]:
    """The rows of a square depthwise kernel in groups of up to 25 taps, equally spaced and symmetric, or [] for none.

    7: rows 0, 3, 6, then 1, 5, then 2, 4.
    """
    if kernel**2 <= _TAPS or 2 * kernel > _TAPS or kernel % 2 == 0:
        return []
    pairs = [(row, kernel - 1 - row) for row in range(kernel // 2)]
    middle = kernel // 2
    if 3 * kernel <= _TAPS:
        return [(pairs[0][0], middle, pairs[0][1]), *pairs[1:]]
    return [*pairs, (middle,)]


def row_dilation(rows: tuple[int, ...]) -> int:
    """The dilation of a convolution with one of `row_groups`."""
    return rows[1] - rows[0] if len(rows) > 1 else 1


def same_is_symmetric(size: int, kernel: int, stride: int) -> bool:
    """Whether TFLite's padding SAME adds k // 2 on both sides, as torch does."""
    out = (size - 1) // stride + 1
    return (out - 1) * stride + kernel - size == 2 * (kernel // 2)
