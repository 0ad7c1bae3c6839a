"""Channels sorted by importance, before a smaller expand ratio or width starts to use only the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.spaces import Operator, Slot, Space
from hwnas.supernet.elastic import ElasticInvertedResidual, ElasticLayer
from hwnas.supernet.layers import ConvBlock, SqueezeExcite
from hwnas.supernet.supernet import Supernet, slot_operators

__all__ = ["importance", "reorder_channels"]


@torch.no_grad()
def reorder_channels(supernet: Supernet, trained: Mapping[str, Iterable[float]]) -> None:
    """Sort channels by importance, most important first, wherever a network may have fewer of them.

    That is inside elastic layers, and between layers of elastic width. Importance is the L1 norm of the weights that
    read a channel (Cai et al., 2020). `trained` maps a kind of gene (`e`, `w`) to the choices that are in use already;
    a kind that is not named is in use with all of them. No channel crosses a width in use: what the trained networks
    compute stays, up to rounding. Ties keep their order. A squeeze-and-excitation bottleneck is sorted likewise.
    """
    for slot in supernet.space.slots:
        layer = supernet.layers[slot.name]
        if isinstance(layer, ElasticLayer):
            _sort_inside(layer, _in_use(supernet, slot, trained))
    for stream in _streams(supernet.space):
        _sort_between(supernet, stream, trained)


def _in_use(supernet: Supernet, slot: Slot, trained: Mapping[str, Iterable[float]]) -> list[Operator]:
    used = []
    for gene in (supernet.space.genes[column] for column in slot.genes):
        values = set(trained.get(gene.kind, gene.choices))
        kept = [index for index, choice in enumerate(gene.choices) if choice in values]
        used.append(np.array(kept or [len(gene.choices) - 1], dtype=np.int64))
    return slot_operators(supernet.space, slot, used)


def _sort_inside(layer: ElasticLayer, used: list[Operator]) -> None:
    for producers, consumer in layer.inner:
        order = _order(importance(consumer), {operator.mid_channels for operator in used})
        for part in producers:
            _permute_outputs(part, order)
        _permute(consumer.weight, order, axis=1)
        if isinstance(layer, ElasticInvertedResidual) and layer.operator.se:
            _permute(layer.full.se.reduce.weight, order, axis=1)
            _permute_bias(layer.full.se.expand, order)
            _permute_bottleneck(layer.full.se, {operator.se_channels for operator in used})


@dataclass
class _Stream:
    """Slots that write and read the same channels, as the additions of residual layers tie them together."""

    producers: list[Slot] = field(default_factory=list)
    consumers: list[Slot] = field(default_factory=list)


def _streams(space: Space) -> list[_Stream]:
    streams = [_Stream()]
    for slot in space.slots:
        streams[-1].consumers.append(slot)
        if not all(o.residual or o.kind in ("pool", "max_pool") for o in slot_operators(space, slot)):
            streams.append(_Stream())
        streams[-1].producers.append(slot)
    return streams


def _sort_between(supernet: Supernet, stream: _Stream, trained: Mapping[str, Iterable[float]]) -> None:
    layers = supernet.elastic_layers
    producers = [part for slot in stream.producers if slot.name in layers for part in layers[slot.name].producers]
    consumers = [part for slot in stream.consumers if slot.name in layers for part in layers[slot.name].consumers]
    every = {o.out_channels for slot in stream.producers for o in slot_operators(supernet.space, slot)}
    if len(every) < 2 or not consumers:
        return
    used = {o.out_channels for slot in stream.producers for o in _in_use(supernet, slot, trained)}
    order = _order(torch.stack([importance(part) for part in consumers]).sum(dim=0), used)
    for block in producers:
        _permute_outputs(block, order)
    for part in consumers:
        _permute(part.weight, order, axis=1)


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
