"""Colours of images, as tensors. Shapes: B images, C channels; values 0 to 255."""

from __future__ import annotations

from torch import Tensor

__all__ = ["grey"]

_SHARES = (0.299, 0.587, 0.114)  # ITU-R BT.601


def grey(images: Tensor) -> Tensor:
    """`[B, 1, …]` of `[B, C, …]`, as floats are: three channels are red, green and blue, others averaged."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return (red * _SHARES[0]).add_(green, alpha=_SHARES[1]).add_(blue, alpha=_SHARES[2])
