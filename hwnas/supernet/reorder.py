"""Channels sorted by importance, before a smaller expand ratio or width starts to use only the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from hwnas.operators import Operator
from hwnas.spaces import Slot, Space
from hwnas.supernet.layers.channels import importance, ordered, permute_inputs, permute_outputs
from hwnas.supernet.supernet import Supernet, slot_operators

__all__ = ["reorder_channels"]


@torch.no_grad()
def reorder_channels(supernet: Supernet, trained: Mapping[str, Iterable[float]]) -> None:
    """Sort channels by importance, most important first, wherever a network may have fewer of them.

    That is inside elastic layers, and between layers of elastic width. Importance is the L1 norm of the weights that
    read a channel (Cai et al., 2020). `trained` maps a kind of gene (`e`, `w`) to the choices that are in use already;
    a kind that is not named is in use with all of them. No channel crosses a width in use: what the trained networks
    compute stays, up to rounding. Ties keep their order. A squeeze-and-excitation bottleneck is sorted likewise.
    """
    layers = supernet.elastic_layers
    for slot in supernet.space.slots:
        if slot.name in layers:
            layers[slot.name].sort_inside(_in_use(supernet, slot, trained))
    for stream in _streams(supernet.space):
        _sort_between(supernet, stream, trained)


def _in_use(supernet: Supernet, slot: Slot, trained: Mapping[str, Iterable[float]]) -> list[Operator]:
    used = []
    for gene in (supernet.space.genes[column] for column in slot.genes):
        values = set(trained.get(gene.kind, gene.choices))
        kept = [index for index, choice in enumerate(gene.choices) if choice in values]
        used.append(np.array(kept or [len(gene.choices) - 1], dtype=np.int64))
    return slot_operators(supernet.space, slot, used)


@dataclass
class _Stream:
    """Slots that write and read the same channels, as the additions of residual layers tie them together."""

    producers: list[Slot] = field(default_factory=list)
    consumers: list[Slot] = field(default_factory=list)


def _streams(space: Space) -> list[_Stream]:
    if any(slot.is_wired for slot in space.slots):
        return []  # what joins ties channels together in ways of its own; these stay in their order
    streams = [_Stream()]
    for slot in space.slots:
        streams[-1].consumers.append(slot)
        if not all(o.ties_channels for o in slot_operators(space, slot)):
            streams.append(_Stream())
        streams[-1].producers.append(slot)
    return streams


def _sort_between(supernet: Supernet, stream: _Stream, trained: Mapping[str, Iterable[float]]) -> None:
    layers = supernet.elastic_layers
    written = [layers[slot.name].producers for slot in stream.producers if slot.name in layers]
    read = [layers[slot.name].consumers for slot in stream.consumers if slot.name in layers]
    if any(parts is None for parts in (*written, *read)):
        return  # weights of a choice's own, whose channels are in an order of their own
    producers = [part for parts in written for part in parts or ()]
    consumers = [part for parts in read for part in parts or ()]
    every = {o.out_channels for slot in stream.producers for o in slot_operators(supernet.space, slot)}
    if len(every) < 2 or not consumers:
        return
    used = {o.out_channels for slot in stream.producers for o in _in_use(supernet, slot, trained)}
    order = ordered(torch.stack([importance(part) for part in consumers]).sum(dim=0), used)
    for block in producers:
        permute_outputs(block, order)
    for part in consumers:
        permute_inputs(part, order)
    for slot in stream.consumers:
        for block in layers[slot.name].carriers if slot.name in layers else ():
            permute_outputs(block, order)
