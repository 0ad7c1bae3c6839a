"""Mid channels sorted by importance, before a smaller expand ratio starts to use only the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwnas.spaces import Operator
from hwnas.supernet.elastic import ElasticInvertedResidual
from hwnas.supernet.layers import ConvBlock, SqueezeExcite
from hwnas.supernet.supernet import Supernet, slot_operators

__all__ = ["reorder_channels"]


@torch.no_grad()
def reorder_channels(supernet: Supernet, trained: Mapping[str, Iterable[float]]) -> None:
    """Sort each elastic layer's mid channels, most important first; what the trained networks compute stays.

    Importance is the L1 norm of the next convolution's weights on a channel (Cai et al., 2020). `trained` maps a kind
    of gene (`e`, `w`) to the choices that are in use already, all of them for a kind that is not named: a channel
    doesn't cross their widths, so their subnets stay as they are. Ties keep their order. A squeeze-and-excitation
    bottleneck is sorted likewise, within the widths in use.
    """
    for slot in supernet.space.slots:
        layer = supernet.layers[slot.name]
        if isinstance(layer, ElasticInvertedResidual):
            used = [_choices(supernet, column, trained) for column in slot.genes]
            _sort_inverted_residual(layer, slot_operators(supernet.space, slot, used))


def _choices(supernet: Supernet, column: int, trained: Mapping[str, Iterable[float]]) -> NDArray[np.int64]:
    gene = supernet.space.genes[column]
    values = set(trained.get(gene.kind, gene.choices))
    return np.array([index for index, choice in enumerate(gene.choices) if choice in values], dtype=np.int64)


def _sort_inverted_residual(block: ElasticInvertedResidual, used: list[Operator]) -> None:
    order = _order(importance(block.projection.conv), {operator.mid_channels for operator in used})
    for part in (block.expansion, block.depthwise):
        _permute_outputs(part, order)
    _permute(block.projection.conv.weight, order, axis=1)
    if block.se is not None:
        _permute(block.se.reduce.weight, order, axis=1)
        _permute_bias(block.se.expand, order)
        _permute_bottleneck(block.se, {operator.se_channels for operator in used})


def importance(consumer: nn.Conv2d | nn.Linear) -> Tensor:
    """The L1 norm of the weights on each input channel, `[C]`."""
    weight = consumer.weight.abs()
    return weight.sum(dim=[axis for axis in range(weight.ndim) if axis != 1])


def _order(importances: Tensor, widths: Iterable[int]) -> Tensor:
    """The channels' new order `[C]`: falling importance within each group that `widths` delimit."""
    count = len(importances)
    bounds = [0, *sorted(width for width in widths if width < count), count]
    groups = [start + importances[start:end].argsort(descending=True, stable=True) for start, end in pairwise(bounds)]
    return torch.cat(groups)


def _permute_bottleneck(se: SqueezeExcite, widths: Iterable[int]) -> None:
    order = _order(importance(se.expand), widths)
    _permute_bias(se.reduce, order)
    _permute(se.expand.weight, order, axis=1)


def _permute_outputs(part: ConvBlock, order: Tensor) -> None:
    _permute(part.conv.weight, order)
    for values in (*part.norm.parameters(), *part.norm.buffers()):
        if values.ndim:
            _permute(values, order)


def _permute_bias(conv: nn.Conv2d, order: Tensor) -> None:
    _permute(conv.weight, order)
    if conv.bias is not None:
        _permute(conv.bias, order)


def _permute(values: Tensor, order: Tensor, axis: int = 0) -> None:
    values.copy_(values.index_select(axis, order))
