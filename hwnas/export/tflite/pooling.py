"""Average pooling in a form that keeps TFLite's layout.

litert-torch writes a mean over the pixels inside of the image alone (`count_include_pad=False`) between transpositions.
Here it is a mean over padded windows, times a constant for each pixel, as it writes windows that the border cuts off.

Shapes: B images, C channels, H × W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AverageInside", "count_no_padding"]


class AverageInside(nn.Module):
    """`pool`, whose windows are padded, with the padding's share undone."""

    def __init__(self, pool: nn.AvgPool2d) -> None:
        super().__init__()
        self.windows = tuple(map(_pair, (pool.kernel_size, pool.stride, pool.padding)))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the pooling's shape."""
        kernel, stride, padding = self.windows
        shares = [
            [k / (min(start + k, size) - max(start, 0)) for start in range(-p, size + p - k + 1, s)]
            for size, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True)
        ]
        factors = torch.outer(*(torch.tensor(one, dtype=torch.float32) for one in shares))
        return F.avg_pool2d(x, kernel, stride, padding) * factors[None, None]


def count_no_padding(module: nn.Module) -> nn.Module:
    """`module` with such poolings in that form, in place, or the form where it is one itself."""
    if isinstance(module, nn.AvgPool2d):
        padded = any(_pair(module.padding)) and not module.count_include_pad
        plain = not module.ceil_mode and module.divisor_override is None
        return AverageInside(module) if padded and plain else module
    for name, part in module.named_children():
        setattr(module, name, count_no_padding(part))
    return module


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
