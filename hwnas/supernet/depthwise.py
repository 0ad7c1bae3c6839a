"""Depthwise convolution whose weight gradient is fast on a CPU.

oneDNN has a fast channels-last kernel for the weight gradient only where the filter is three columns wide; wider ones
cost 10 to 20 times their forward pass. So the gradient of a wide filter is put together from strips of three columns,
each found on a part of the images shifted sideways, and on tiny maps it is one matrix product a channel.

Shapes: B images, C channels, H × W pixels in, h × w pixels out, k × k filters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["depthwise_conv"]

_TINY_MAP = 16
"""Up to this many input pixels, one matrix product a channel is faster than strips (measured)."""


def depthwise_conv(x: Tensor, filters: Tensor, stride: int) -> Tensor:
    """`[B, C, H, W]` with odd filters `[C, 1, k, k]`, padded by k // 2, to `[B, C, h, w]`; as `F.conv2d`, groups C."""
    kernel = filters.shape[-1]
    plain = (
        kernel < 5
        or x.device.type != "cpu"
        or x.dtype != torch.float32
        or torch.is_autocast_enabled("cpu")
        or not (torch.is_grad_enabled() and filters.requires_grad)
    )
    if plain:
        return F.conv2d(x, filters, stride=stride, padding=kernel // 2, groups=x.shape[1])
    result: Tensor = _DepthwiseConv.apply(x, filters, stride)  # type: ignore[no-untyped-call]
    return result


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, filters)
        ctx.stride = stride
        return F.conv2d(x, filters, stride=stride, padding=filters.shape[-1] // 2, groups=x.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, filters = ctx.saved_tensors
        padding = (filters.shape[-1] // 2,) * 2
        grad_x = _gradient(gradient, x, filters, ctx.stride, padding, wanted=0) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return grad_x, None, None
        if ctx.stride == 1 and x.shape[2] * x.shape[3] <= _TINY_MAP:
            return grad_x, _by_products(gradient, x, filters), None
        return grad_x, _by_strips(gradient, x, filters, ctx.stride), None


def _gradient(
    gradient: Tensor, x: Tensor, filters: Tensor, stride: int, padding: tuple[int, int], wanted: int
) -> Tensor:
    """What the library gives: the gradient to the input (`wanted` 0) or to the filters (1)."""
    mask = [wanted == 0, wanted == 1, False]
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, x, filters, None, [stride] * 2, padding, [1, 1], False, [0, 0], x.shape[1], mask
    )
    return found[wanted]


def _by_strips(gradient: Tensor, x: Tensor, filters: Tensor, stride: int) -> Tensor:
    kernel, half = filters.shape[-1], filters.shape[-1] // 2
    # Beside the columns, the fast kernel asks for few rows of padding: the others are put into the copy.
    padding = half if x.shape[2] >= kernel and (stride == 1 or kernel < 7) else 0
    rows = x.shape[2] if padding else (gradient.shape[2] - 1) * stride + kernel
    columns = (gradient.shape[3] - 1) * stride + 3
    window = torch.empty(*x.shape[:2], rows, columns, dtype=x.dtype, memory_format=torch.channels_last)
    narrow = filters[..., :3].contiguous()
    result = torch.empty_like(filters, memory_format=torch.contiguous_format)
    for left in [*range(0, kernel - 3, 3), kernel - 3]:
        _fill(window, x, padding - half, left - half)
        result[..., left : left + 3] = _gradient(gradient, window, narrow, stride, (padding, 0), wanted=1)
    return result


def _fill(window: Tensor, x: Tensor, top: int, left: int) -> None:
    """Set `window` to the pixels of `x` from a row and a column on, which may be outside: there it is zero."""
    height, width = x.shape[2:]
    rows, columns = window.shape[2:]
    first_row, last_row = max(0, -top), min(rows, height - top)
    first_column, last_column = max(0, -left), min(columns, width - left)
    # The borders alone: to fill all of it costs as much as the copy.
    window[:, :, :first_row] = 0
    window[:, :, last_row:] = 0
    window[:, :, first_row:last_row, :first_column] = 0
    window[:, :, first_row:last_row, last_column:] = 0
    inside = window[:, :, first_row:last_row, first_column:last_column]
    inside.copy_(x[:, :, first_row + top : last_row + top, first_column + left : last_column + left])


def _by_products(gradient: Tensor, x: Tensor, filters: Tensor) -> Tensor:
    kernel = filters.shape[-1]
    images, channels, height, width = x.shape
    by_channel = [values.permute(0, 2, 3, 1).reshape(-1, channels).t().contiguous() for values in (x, gradient)]
    inputs, gradients = (values.view(channels, images, height * width) for values in by_channel)
    products = torch.bmm(inputs.transpose(1, 2), gradients).view(channels, -1)  # [C, HW · hw]
    return (products @ _pairs_to_taps(kernel, height, width)).view(channels, 1, kernel, kernel)


@lru_cache(maxsize=32)
def _pairs_to_taps(kernel: int, height: int, width: int) -> Tensor:
    """Zeros and ones `[HW · HW, k · k]`: which filter tap an input pixel and an output pixel meet in."""
    taps = torch.zeros(height, width, height, width, kernel, kernel)
    half = kernel // 2
    for row in range(height):
        for column in range(width):
            for i in range(max(0, row + half - height + 1), min(kernel, row + half + 1)):
                for j in range(max(0, column + half - width + 1), min(kernel, column + half + 1)):
                    # Output pixel (y, x) reads input pixel (y + i - half, x + j - half).
                    taps[row, column, row - i + half, column - j + half, i, j] = 1.0
    return taps.view(-1, kernel**2)
