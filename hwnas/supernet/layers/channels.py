"""Channels sorted by importance: the L1 norm of the weights that read them (Cai et al., 2020).

Shapes: C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from hwnas.supernet.layers.blocks import ConvBlock, SqueezeExcite

__all__ = ["importance", "ordered", "permute_inputs", "permute_outputs", "sort_bottleneck", "sort_channels"]


def importance(consumer: nn.Conv2d | nn.Linear) -> Tensor:
    """The L1 norm of the weights on each input channel, `[C]`."""
    weight = consumer.weight.abs()
    return weight.sum(dim=[axis for axis in range(weight.ndim) if axis != 1])


def ordered(importances: Tensor, widths: Iterable[int]) -> Tensor:
    """The channels' new order `[C]`: falling importance within each group that `widths` delimit. Ties stay."""
    count = len(importances)
    bounds = [0, *sorted(width for width in widths if width < count), count]
    groups = [start + importances[start:end].argsort(descending=True, stable=True) for start, end in pairwise(bounds)]
    return torch.cat(groups)


def sort_channels(producers: Iterable[ConvBlock], consumer: nn.Conv2d, widths: Iterable[int]) -> Tensor:
    """Sort what `consumer` reads and `producers` write; returns the order `[C]`. No channel crosses one of `widths`."""
    order = ordered(importance(consumer), widths)
    for part in producers:
        permute_outputs(part, order)
    permute_inputs(consumer, order)
    return order


def sort_bottleneck(se: SqueezeExcite, order: Tensor, widths: Iterable[int]) -> None:
    """Bring a squeeze-and-excitation's outer channels into `order`, and sort its inner ones."""
    permute_inputs(se.reduce, order)
    _permute_conv(se.expand, order)
    inner = ordered(importance(se.expand), widths)
    _permute_conv(se.reduce, inner)
    permute_inputs(se.expand, inner)


def permute_outputs(part: ConvBlock | nn.BatchNorm2d, order: Tensor) -> None:
    """Bring the channels that a block, or BatchNorm alone, writes into `order` `[C]`."""
    if isinstance(part, ConvBlock):
        _permute(part.conv.weight, order)
    norm = part.norm if isinstance(part, ConvBlock) else part
    for values in (*norm.parameters(), *norm.buffers()):
        if values.ndim:
            _permute(values, order)


def permute_inputs(consumer: nn.Conv2d | nn.Linear, order: Tensor) -> None:
    """Bring the channels that a layer reads into `order` `[C]`."""
    _permute(consumer.weight, order, axis=1)


def _permute_conv(conv: nn.Conv2d, order: Tensor) -> None:
    _permute(conv.weight, order)
    if conv.bias is not None:
        _permute(conv.bias, order)


def _permute(values: Tensor, order: Tensor, axis: int = 0) -> None:
    values.copy_(values.index_select(axis, order))
