"""BatchNorm of a share of the channels, together with what stands beside it, in few passes over memory.

In a mobile network's training on a CPU most of the time goes into reading and writing activations, and most of those
around BatchNorm. Two observations save passes. A 1 × 1 convolution's outputs have a mean and variance that follow from
the mean and covariance of its few inputs; so the convolution can apply its own BatchNorm as it writes, and the
gradients of both are products of small matrices with what the convolution's own gradients need anyway. And an
activation can be undone, or found again, so that BatchNorm's output need not be kept for it.

Shapes: B images, C channels in, M channels out, H × W pixels, P = B · H · W.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ACTIVATION_FUNCTIONS", "conv_norm_act", "norm_act", "sliced_batch_norm", "update_running"]

ACTIVATION_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "h_swish": F.hardswish,
}

_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu_,
    "h_swish": lambda x: F.hardswish(x, inplace=True),
}
"""The activations that the fast paths know."""

_PIXELS_PER_CHANNEL = 64
"""From so many pixels for each channel in, the small matrices cost less than the passes that they save (measured)."""


def conv_norm_act(x: Tensor, weight: Tensor, norm: nn.BatchNorm2d, activation: str) -> Tensor:
    """1 × 1 convolution by `weight` `[M, C, 1, 1]`, the first M channels of `norm`, and an activation."""
    pixels, channels = x.numel() // x.shape[1], x.shape[1]
    if pixels < _PIXELS_PER_CHANNEL * channels or not _fast(x, weight, norm, activation):
        return norm_act(F.conv2d(x, weight), norm, activation)
    result: Tensor = _ConvNormAct.apply(x, weight, *_parts(norm, len(weight)), norm, activation)  # type: ignore[no-untyped-call]
    return result


def norm_act(x: Tensor, norm: nn.BatchNorm2d, activation: str) -> Tensor:
    """The first M channels of `norm` on `x` `[B, M, H, W]`, and an activation."""
    if not _fast(x, x, norm, activation):
        return ACTIVATION_FUNCTIONS[activation](sliced_batch_norm(x, norm))
    result: Tensor = _NormAct.apply(x, *_parts(norm, x.shape[1]), norm, activation)  # type: ignore[no-untyped-call]
    return result


def sliced_batch_norm(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """BatchNorm with the first channels' share of weights and running statistics, which training updates in place."""
    channels = x.shape[1]
    return F.batch_norm(
        x,
        _part(norm.running_mean, channels),
        _part(norm.running_var, channels),
        norm.weight[:channels],
        norm.bias[:channels],
        norm.training,
        _momentum(norm),
        norm.eps,
    )


class _ConvNormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor, norm: nn.BatchNorm2d, activation: str
    ) -> Tensor:
        rows, matrix = _rows(x), weight.flatten(1).double()
        count = len(rows)
        # In double precision: a filter may pick a direction in which the inputs hardly vary.
        wide = rows.to(torch.float64, copy=True)
        input_mean = wide.mean(0)
        wide -= input_mean
        covariance = wide.t() @ wide / count
        del wide
        mean = matrix @ input_mean
        variance = ((matrix @ covariance) * matrix).sum(1)
        update_running(norm, mean, variance * (count / (count - 1)))
        inverse = (variance + norm.eps).rsqrt()
        scale = gain * inverse
        folded = (matrix * scale[:, None]).to(x.dtype)[:, :, None, None]
        offset = (shift - scale * mean).to(x.dtype)
        result = _IN_PLACE[activation](F.conv2d(x, folded, offset))
        ctx.activation = activation
        kept = result if activation == "relu" else None
        ctx.save_for_backward(x, weight, gain, inverse, input_mean, covariance, folded, offset, kept)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gain, inverse, input_mean, covariance, folded, offset, kept = ctx.saved_tensors
        count = x.numel() // x.shape[1]
        if kept is None:
            kept = F.conv2d(x, folded, offset)
        gradient = _through_activation(gradient, kept, ctx.activation)
        # Of the convolution with the folded filters; what runs through mean and variance is taken off below.
        size = [folded.shape[0]]
        grad_x, product, total = torch.ops.aten.convolution_backward(
            gradient, x, folded, size, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, True, True]
        )
        matrix, product, total = weight.flatten(1).double(), product.flatten(1).double(), total.double()
        grad_gain = inverse * ((product * matrix).sum(1) - (matrix @ input_mean) * total)
        scale = gain * inverse
        through_variance = grad_gain * inverse
        grad_weight = product - total[:, None] * input_mean - through_variance[:, None] * (matrix @ covariance)
        grad_weight *= scale[:, None]
        mixed = matrix.t() @ (matrix * (scale * through_variance / count)[:, None])
        constant = (total * scale / count) @ matrix - input_mean @ mixed
        grad_x -= F.conv2d(x, mixed.to(x.dtype)[:, :, None, None], constant.to(x.dtype))
        found = grad_weight.to(x.dtype).view_as(weight), grad_gain.to(x.dtype), total.to(x.dtype)
        return grad_x, *found, None, None


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, norm: nn.BatchNorm2d, activation: str) -> Tensor:
        running = (_part(norm.running_mean, len(gain)), _part(norm.running_var, len(gain)))
        result, mean, inverse = torch.native_batch_norm(x, gain, shift, *running, True, _momentum(norm), norm.eps)
        result = _IN_PLACE[activation](result)
        ctx.activation, ctx.eps = activation, norm.eps
        ctx.save_for_backward(x, gain, shift, mean, inverse, result if activation == "relu" else None)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, mean, inverse, kept = ctx.saved_tensors
        if kept is None:
            scale = gain * inverse
            kept = torch.addcmul((shift - scale * mean)[:, None, None], x, scale[:, None, None])
        gradient = _through_activation(gradient, kept, ctx.activation)
        del kept
        found = torch.ops.aten.native_batch_norm_backward(
            gradient, x, gain, None, None, mean, inverse, True, ctx.eps, [True, True, True]
        )
        return *found, None, None


def _through_activation(gradient: Tensor, kept: Tensor, activation: str) -> Tensor:
    """The gradient before an activation, from the one after it and ReLU's output or h-swish's input."""
    if activation == "relu":
        found: Tensor = torch.ops.aten.threshold_backward(gradient, kept, 0)
    else:
        found = torch.ops.aten.hardswish_backward(gradient, kept)
    return found


def _fast(x: Tensor, weight: Tensor, norm: nn.BatchNorm2d, activation: str) -> bool:
    return bool(
        activation in _IN_PLACE
        and norm.training
        and torch.is_grad_enabled()
        and x.requires_grad
        and weight.requires_grad
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _rows(x: Tensor) -> Tensor:
    """`[B, C, H, W]` as pixels `[P, C]`."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _parts(norm: nn.BatchNorm2d, channels: int) -> tuple[Tensor, Tensor]:
    return norm.weight[:channels], norm.bias[:channels]


def update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    for running, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        if running is not None:
            running[: len(new)].lerp_(new.to(running.dtype), _momentum(norm))


def _momentum(norm: nn.BatchNorm2d) -> float:
    return norm.momentum if norm.momentum is not None else 0.1


def _part(values: Tensor | None, channels: int) -> Tensor | None:
    return None if values is None else values[:channels]
