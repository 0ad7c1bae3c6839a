"""Mid channels sorted by importance, before a smaller expand ratio starts to use only the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from hwnas.supernet.elastic import ElasticInvertedResidual
from hwnas.supernet.layers import SqueezeExcite
from hwnas.supernet.supernet import Supernet

__all__ = ["reorder_channels"]


@torch.no_grad()
def reorder_channels(supernet: Supernet, trained_ratios: Iterable[int]) -> None:
    """Sort each elastic block's mid channels, most important first; what the trained networks compute stays.

    Importance is the L1 norm of the projection's weights on a channel (Cai et al., 2020). `trained_ratios` are the
    expand ratios that are in use already: a channel doesn't cross their widths, so their subnets stay as they are.
    Ties keep their order. The squeeze-and-excitation bottleneck is sorted likewise, within the widths in use.
    """
    for block in supernet.elastic_blocks:
        widths = sorted(block.mid_channels[ratio] for ratio in trained_ratios)
        importance = block.projection.conv.weight.abs().sum(dim=(0, 2, 3))
        _permute_mid_channels(block, _order(importance, widths))
        if block.se is not None:
            narrow = sorted({block.se_channels(width) for width in widths})
            _permute_bottleneck(block.se, _order(block.se.expand.weight.abs().sum(dim=(0, 2, 3)), narrow))


def _order(importance: Tensor, widths: list[int]) -> Tensor:
    """The channels' new order `[M]`: falling importance within each group that `widths` delimits."""
    bounds = [0, *(width for width in widths if width < len(importance)), len(importance)]
    groups = [start + importance[start:end].argsort(descending=True, stable=True) for start, end in pairwise(bounds)]
    return torch.cat(groups)


def _permute_mid_channels(block: ElasticInvertedResidual, order: Tensor) -> None:
    for part in (block.expansion, block.depthwise):
        _permute(part.conv.weight, order)
        for values in (*part.norm.parameters(), *part.norm.buffers()):
            if values.ndim:
                _permute(values, order)
    _permute(block.projection.conv.weight, order, axis=1)
    if block.se is not None:
        _permute(block.se.reduce.weight, order, axis=1)
        _permute_outputs(block.se.expand, order)


def _permute_bottleneck(se: SqueezeExcite, order: Tensor) -> None:
    _permute_outputs(se.reduce, order)
    _permute(se.expand.weight, order, axis=1)


def _permute_outputs(conv: nn.Conv2d, order: Tensor) -> None:
    _permute(conv.weight, order)
    if conv.bias is not None:
        _permute(conv.bias, order)


def _permute(values: Tensor, order: Tensor, axis: int = 0) -> None:
    values.copy_(values.index_select(axis, order))
