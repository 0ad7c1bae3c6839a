"""Elastic layers: one set of weights, of which a call uses a part.

Shapes: B images, M mid channels in use, K the largest kernel, k the kernel in use. What is in use is an argument of
each call; no layer remembers it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.errors import ConfigError
from hwnas.spaces import Operator, make_divisible
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers import ACTIVATION_FUNCTIONS, ConvBlock, InvertedResidual, SqueezeExcite

__all__ = ["ElasticInvertedResidual", "centre_crop", "sliced_batch_norm"]


class ElasticInvertedResidual(nn.Module):
    """An inverted residual block with elastic kernel and expand ratio (Cai et al., 2020, section 3).

    Its parts have the names and the full sizes of `InvertedResidual`. A smaller kernel is the centre of the next
    larger one times a learned matrix, `transforms["7to5"]` and so on; a smaller expand ratio is the first M channels.
    """

    def __init__(self, largest: Operator, kernel_sizes: tuple[int, ...], expand_ratios: tuple[int, ...]) -> None:
        super().__init__()
        self.operator = largest
        self.kernel_sizes = kernel_sizes
        self.mid_channels = {ratio: make_divisible(round(largest.in_channels * ratio)) for ratio in expand_ratios}
        if largest.in_channels in self.mid_channels.values():
            raise ConfigError(
                f"space.expand_ratios: a block of {largest.in_channels} channels has a mid width of the same size,"
                f" which would drop its expansion; expected ratios of 2 and more, got {list(expand_ratios)}"
            )
        parts = InvertedResidual(largest)
        self.expansion: ConvBlock = parts.expansion
        self.depthwise: ConvBlock = parts.depthwise
        self.se: SqueezeExcite | None = parts.se if largest.se else None
        self.projection: ConvBlock = parts.projection
        self.transforms = nn.ParameterDict(
            {f"{larger}to{smaller}": nn.Parameter(torch.eye(smaller**2)) for smaller, larger in pairwise(kernel_sizes)}
        )

    def forward(self, x: Tensor, kernel: int, expand: int) -> Tensor:
        """`[B, C, H, W]` to the block's output, through M channels of `expand` and a `kernel` × `kernel` filter."""
        act = ACTIVATION_FUNCTIONS[self.operator.activation]
        mid = self.mid_channels[expand]
        inner = F.conv2d(x, self.expansion.conv.weight[:mid])
        inner = act(sliced_batch_norm(inner, self.expansion.norm))
        inner = depthwise_conv(inner, self.filters(kernel, mid), self.operator.stride)
        inner = act(sliced_batch_norm(inner, self.depthwise.norm))
        if self.se is not None:
            inner = inner * self._attention(inner, self.se, mid)
        inner = F.conv2d(inner, self.projection.conv.weight[:, :mid])
        inner = sliced_batch_norm(inner, self.projection.norm)
        return x + inner if self.operator.residual else inner

    def filters(self, kernel: int, mid: int) -> Tensor:
        """The depthwise filters `[M, 1, k, k]`: each step down crops the centre and multiplies by its matrix."""
        filters = self.depthwise.conv.weight[:mid]
        steps = list(pairwise(self.kernel_sizes))
        for smaller, larger in reversed(steps):
            if larger <= kernel:
                break
            cropped = centre_crop(filters, smaller).reshape(mid, smaller**2)
            filters = F.linear(cropped, self.transforms[f"{larger}to{smaller}"]).view(mid, 1, smaller, smaller)
        return filters

    def se_channels(self, mid: int) -> int:
        """The width of the squeeze-and-excitation bottleneck at M channels."""
        return make_divisible(mid // 4)

    def _attention(self, x: Tensor, se: SqueezeExcite, mid: int) -> Tensor:
        narrow = self.se_channels(mid)
        squeezed = F.conv2d(F.adaptive_avg_pool2d(x, 1), se.reduce.weight[:narrow, :mid], _part(se.reduce.bias, narrow))
        excited = F.conv2d(F.relu(squeezed), se.expand.weight[:mid, :narrow], _part(se.expand.bias, mid))
        return F.hardsigmoid(excited)


def centre_crop(filters: Tensor, kernel: int) -> Tensor:
    """The middle `kernel` × `kernel` of `[M, 1, K, K]`."""
    start = (filters.shape[-1] - kernel) // 2
    return filters[:, :, start : start + kernel, start : start + kernel]


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
        norm.momentum if norm.momentum is not None else 0.1,
        norm.eps,
    )


def _part(values: Tensor | None, channels: int) -> Tensor | None:
    return None if values is None else values[:channels]
