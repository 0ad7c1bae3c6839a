"""Elastic layers: one set of weights, of which a call uses the part that an operator needs.

Shapes: B images, M mid channels in use, K the largest kernel, k the kernel in use. The operator is an argument of each
call; no layer remembers it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwnas.errors import ConfigError
from hwnas.spaces import Operator
from hwnas.supernet.batch_norm import conv_norm_act, norm_act, sliced_batch_norm
from hwnas.supernet.depthwise import depthwise_conv
from hwnas.supernet.layers import ConvBlock, InvertedResidual, SqueezeExcite, static_layer

__all__ = ["ElasticInvertedResidual", "ElasticLayer", "centre_crop", "sliced_conv"]


class ElasticLayer(nn.Module):
    """What stands in a place where one of several operators may be chosen: `full`, the static layer of the largest.

    An operator's weights are the leading part of each of its tensors, but for what `weights_of` says otherwise.
    """

    full: nn.Module

    def __init__(self, operators: Sequence[Operator]) -> None:
        super().__init__()
        sizes = {(o.in_channels, o.mid_channels, o.out_channels, o.kernel) for o in operators}
        largest = [max(values) for values in zip(*sizes, strict=True)]
        self.operator = replace(
            operators[0],
            in_channels=largest[0],
            mid_channels=largest[1],
            out_channels=largest[2],
            kernel=largest[3],
        )
        self.full = static_layer(self.operator)

    @abstractmethod
    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        """`[B, C, H, W]` through the weights that `operator` needs."""

    def weights_of(self, operator: Operator) -> dict[str, Tensor]:  # noqa: ARG002
        """Weights of `operator` that are not the leading part of this layer's, by their name in the static layer."""
        return {}

    @property
    @abstractmethod
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        """What reads the layer's input channels: axis 1 of the weights."""

    @property
    @abstractmethod
    def producers(self) -> list[ConvBlock]:
        """What writes the layer's output channels: axis 0 of the weights, and BatchNorm."""

    @property
    def inner(self) -> list[tuple[list[ConvBlock], nn.Conv2d]]:
        """What writes and reads each set of mid channels, in the order in which they are to be sorted."""
        return []


class ElasticInvertedResidual(ElasticLayer):
    """An inverted residual block with elastic kernel and expand ratio (Cai et al., 2020, section 3).

    A smaller kernel is the centre of the next larger one times a learned matrix, `transforms["7to5"]` and so on; a
    smaller expand ratio is the first M channels.
    """

    full: InvertedResidual

    def __init__(self, operators: Sequence[Operator]) -> None:
        if not all(operator.expands for operator in operators):
            ratios = sorted({operator.mid_channels / operator.in_channels for operator in operators})
            raise ConfigError(
                f"space.expand_ratios: a block of {operators[0].in_channels} channels has a mid width of the same size,"
                f" which would drop its expansion; expected ratios of 2 and more, got {ratios}"
            )
        super().__init__(operators)
        self.kernel_sizes = sorted({operator.kernel for operator in operators})
        self.transforms = nn.ParameterDict(
            {f"{b}to{a}": nn.Parameter(torch.eye(a**2)) for a, b in pairwise(self.kernel_sizes)}
        )

    def forward(self, x: Tensor, operator: Operator) -> Tensor:
        activation, mid = operator.activation, operator.mid_channels
        inner = conv_norm_act(x, self.full.expansion.conv.weight[:mid], self.full.expansion.norm, activation)
        inner = depthwise_conv(inner, self.filters(operator.kernel, mid), operator.stride)
        inner = norm_act(inner, self.full.depthwise.norm, activation)
        if operator.se:
            inner = inner * _attention(inner, self.full.se, operator.se_channels)
        inner = sliced_conv(inner, self.full.projection, operator.out_channels)
        return x + inner if operator.residual else inner

    def weights_of(self, operator: Operator) -> dict[str, Tensor]:
        return {"depthwise.conv.weight": self.filters(operator.kernel, operator.mid_channels)}

    @property
    def consumers(self) -> list[nn.Conv2d | nn.Linear]:
        return [self.full.expansion.conv]

    @property
    def producers(self) -> list[ConvBlock]:
        return [self.full.projection]

    @property
    def inner(self) -> list[tuple[list[ConvBlock], nn.Conv2d]]:
        return [([self.full.expansion, self.full.depthwise], self.full.projection.conv)]

    def filters(self, kernel: int, mid: int) -> Tensor:
        """The depthwise filters `[M, 1, k, k]`: each step down crops the centre and multiplies by its matrix."""
        filters = self.full.depthwise.conv.weight[:mid]
        for smaller, larger in reversed(list(pairwise(self.kernel_sizes))):
            if larger <= kernel:
                break
            cropped = centre_crop(filters, smaller).reshape(mid, smaller**2)
            filters = F.linear(cropped, self.transforms[f"{larger}to{smaller}"]).view(mid, 1, smaller, smaller)
        return filters


def centre_crop(filters: Tensor, kernel: int) -> Tensor:
    """The middle `kernel` × `kernel` of `[M, 1, K, K]`."""
    start = (filters.shape[-1] - kernel) // 2
    return filters[:, :, start : start + kernel, start : start + kernel]


def sliced_conv(x: Tensor, block: ConvBlock, out_channels: int, stride: int = 1) -> Tensor:
    """A block's convolution and BatchNorm with the first of its input and output channels, `[B, C, H, W]`."""
    weight = block.conv.weight[:out_channels, : x.shape[1]]
    return sliced_batch_norm(F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2), block.norm)


def _attention(x: Tensor, se: SqueezeExcite, narrow: int) -> Tensor:
    mid = x.shape[1]
    squeezed = F.conv2d(F.adaptive_avg_pool2d(x, 1), se.reduce.weight[:narrow, :mid], _part(se.reduce.bias, narrow))
    excited = F.conv2d(F.relu(squeezed), se.expand.weight[:mid, :narrow], _part(se.expand.bias, mid))
    return F.hardsigmoid(excited)


def _part(values: Tensor | None, channels: int) -> Tensor | None:
    return None if values is None else values[:channels]
