"""Trained weights as something to start from: layer by layer, whatever file they came in.

A block's place is its stage and its place in that, not its running number, which depends on how deep stages may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from hwnas.operators import make_divisible
from hwnas.spaces import Genotypes, OfaResNet50Config, Space, SpaceConfig, settings_of
from hwnas.spaces.mobile import MobileSpace
from hwnas.supernet.single import SingleNetwork, TrainedNetwork

__all__ = ["COUNTER", "Layers", "Source", "own_arch", "places", "source_of"]

COUNTER = "num_batches_tracked"

Layers = Mapping[str, Mapping[str, Tensor]]
"""By place, a static layer's tensors by their names in it; of elastic blocks also `transforms.7to5` and so on."""


@dataclass(frozen=True)
class Source:
    """`layers` of the network called `name`, of the space that `settings` describe. `classes`: what their names, and
    those of their folders, are; empty where the file doesn't say. `elastic`: a supernet, whose channels are sorted by
    importance.
    """

    name: str
    settings: SpaceConfig
    layers: Layers
    classes: frozenset[tuple[str, ...]]
    elastic: bool

    @property
    def tensors(self) -> int:
        """How many there are to load."""
        return sum(len(layer) for layer in self.layers.values())


def places(settings: SpaceConfig) -> dict[str, str]:
    """The place of each elastic block of a space by its slot's name: `stage2.1` is the second block of stage 2."""
    found: dict[str, str] = {}
    for stage, depth in enumerate(_most_blocks(settings)):
        for place in range(depth):
            found[f"block{len(found)}"] = f"stage{stage + 1}.{place}"
    return found


def source_of(network: TrainedNetwork, name: str, classes: frozenset[tuple[str, ...]] = frozenset()) -> Source:
    """What `network`, a supernet or one network, gives to start from."""
    settings = settings_of(network.space)
    elastic = not isinstance(network, SingleNetwork)
    tensors = network.network.state_dict() if isinstance(network, SingleNetwork) else network.state_dict()
    where, layers = places(settings), dict[str, dict[str, Tensor]]()
    for key, value in tensors.items():
        if key.endswith(COUNTER):
            continue
        slot, _, rest = (key.removeprefix("layers.") if elastic else key).partition(".")
        layers.setdefault(where.get(slot, slot), {})[rest.removeprefix("full.")] = value
    return Source(name, settings, layers, classes, elastic)


def own_arch(source: Source, space: Space) -> Genotypes | None:
    """The canonical genotype `[G]` of `space` that is the source's one network, at the space's largest resolution.

    None for a supernet, and where the space has no such network.
    """
    if source.elastic or not isinstance(space, MobileSpace):
        return None
    settings = settings_of(space)
    if isinstance(settings, OfaResNet50Config) or source.settings.family != settings.family:
        return None
    row = space.extreme(largest=True)
    depths = [0] * len(settings.stage_depths)
    for slot, place in places(settings).items():
        layer, number = source.layers.get(place), slot.removeprefix("block")
        if layer is None:
            continue
        depths[int(place.removeprefix("stage").partition(".")[0]) - 1] += 1
        inputs = layer["expansion.conv.weight"].shape[1] if "expansion.conv.weight" in layer else 0
        mid, *_, kernel = layer["depthwise.conv.weight"].shape
        kernels, expands = (space.gene_index[f"{kind}{number}"] for kind in ("ks", "e"))
        ratios = [make_divisible(round(inputs * ratio)) for ratio in space.genes[expands].choices]
        if kernel not in space.genes[kernels].choices or mid not in ratios:
            return None
        row[kernels] = space.genes[kernels].choices.index(kernel)
        row[expands] = ratios.index(mid)
    if len(depths) != len(_most_blocks(source.settings)) or sum(depths) != sum("." in name for name in source.layers):
        return None
    for stage, (depth, options) in enumerate(zip(depths, settings.stage_depths, strict=True)):
        if depth not in options:
            return None
        if f"d{stage}" in space.gene_index:
            row[space.gene_index[f"d{stage}"]] = options.index(depth)
    return np.asarray(space.canonical(row[None])[0])


def _most_blocks(settings: SpaceConfig) -> Sequence[int]:
    if isinstance(settings, OfaResNet50Config):
        return settings.stage_blocks
    return [depths[-1] for depths in settings.stage_depths]
