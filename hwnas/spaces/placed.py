"""A space from a description of its places: what may stand in each, by the choices of genes.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError
from hwnas.operators import Operator
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.slots import Slot, SlotTables
from hwnas.spaces.space import Space

__all__ = ["Place", "PlacedSpace"]

_CHECKED = 16


@dataclass(frozen=True)
class Place:
    """What stands in one place of a network: an operator, or what `operator` gives for the values of its `genes`.

    `genes` maps their names to rising choices; `operator` is called with a value of each, by the gene's kind (by its
    name, where there are several of a kind), and gives None where nothing stands there. A name is a kind and a number
    (`ks0`, `ks1`, …), or a kind alone; genes of a kind stand together in an arch. The same gene may be named by several
    places, with the same choices: a width, or a stage's depth.

    A place takes what the one before gives, or those that `reads` names: their sum, or with `join` as `concat` all of
    their channels. Without an operator it joins them, and no more. Where nothing stands, what a place takes passes; not
    an edge (`is_edge`), such as of a cell: it gives nothing then, and also where it is given nothing. `otherwise` names
    what a place takes where all that it reads gives nothing.
    """

    name: str
    operator: Operator | Callable[..., Operator | None] | None
    genes: Mapping[str, Sequence[float]] = field(default_factory=dict)
    reads: Sequence[str] = ()
    join: str = "add"
    is_edge: bool = False
    otherwise: str = ""


class PlacedSpace(Space):
    """What `places` says of an image of so many pixels, the choices of the resolution: one after the other, or as they
    read each other.

    Genes are the places' in the order in which they are named, kind by kind, and `r`. Where some choices of edges lead
    nowhere, an operator in one of them still counts: let the first choice of an edge's gene be None. Raises ConfigError
    where places disagree about a gene, or an operator does not fit onto what it reads, in the largest network, the
    smallest, or some of those between.
    """

    def __init__(
        self, name: str, resolutions: Sequence[int], in_channels: int, classes: int,
        places: Callable[[int], Iterable[Place]],
    ) -> None:  # fmt: skip
        self.name, self.in_channels, self.classes = name, in_channels, classes
        self.resolutions = tuple(resolutions)
        placed = {resolution: list(places(resolution)) for resolution in self.resolutions}
        self.genes = (*_genes(name, placed[self.resolutions[-1]]), Gene("r", self.resolutions, "resolution"))
        self.operators, self.slots = self._build(placed)
        self._check()

    def config(self) -> dict[str, Any]:
        return {"family": "places", "name": self.name, "in_channels": self.in_channels, "classes": self.classes}

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        found = np.zeros(genotypes.shape, dtype=bool)
        found[:, -1] = True
        for slot in self.slots:
            chosen = tuple(genotypes[:, column] for column in slot.genes)
            for axis, column in enumerate(slot.genes[:-1]):
                ids = np.moveaxis(slot.operator_ids, axis, -1)
                matters = ids.max(axis=-1) != ids.min(axis=-1)
                found[:, column] |= matters[tuple(one for place, one in enumerate(chosen) if place != axis)]
        return found

    def canonical(self, genotypes: Genotypes) -> Genotypes:
        # A gene may lose its effect as another goes to 0.
        while True:
            found = np.where(self.active(genotypes), genotypes, 0)
            if np.array_equal(found, genotypes):
                return found
            genotypes = found

    def _check(self) -> None:
        ends = np.stack([self.extreme(largest=True), self.extreme(largest=False)])
        row = ends[0]
        try:
            for row in self.unique(np.concatenate([ends, self.sample(_CHECKED, np.random.default_rng(0))])):
                self.network_of(row).check()
        except (ArchError, ConfigError) as error:
            raise ConfigError(f"space {self.name}: {error}; its arch: {self.arch(row).to_dict()}") from error

    def _build(self, placed: Mapping[int, Sequence[Place]]) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
        tables = SlotTables(self.genes)
        choices = {gene.name: gene.choices for gene in self.genes}
        for index, places in enumerate(placed.values()):
            for place in places:
                if place.reads or place.is_edge:
                    tables.wire(place.name, place.reads, place.join, place.is_edge, place.otherwise)
                for names, found in _operators(place, choices):
                    if found is not None:
                        tables.place(place.name, found, index, names)
        return tables.finish()


def _genes(space: str, places: Sequence[Place]) -> list[Gene]:
    found: dict[str, tuple[float, ...]] = {}
    for place in places:
        for name, values in place.genes.items():
            if not values or list(values) != sorted(set(values)):
                raise ConfigError(
                    f"space {space}: {place.name}: gene {name}: expected rising choices, got {list(values)}"
                )
            if found.setdefault(name, tuple(values)) != tuple(values):
                raise ConfigError(
                    f"space {space}: {place.name}: gene {name} has choices {list(values)}, but before"
                    f" {list(found[name])}"
                )
    groups = {name: place.name for place in reversed(places) for name in place.genes if name[-1:].isdigit()}
    kinds = list(dict.fromkeys(map(_kind, found)))
    ordered = sorted(found, key=lambda name: kinds.index(_kind(name)))
    return [Gene(name, found[name], groups.get(name, name)) for name in ordered]


def _kind(name: str) -> str:
    return Gene(name, (), "").kind


def _operators(
    place: Place, choices: Mapping[str, Sequence[float]]
) -> Iterable[tuple[dict[str, int], Operator | None]]:
    """What stands in a place for each choice of its genes, by their index."""
    kinds = Counter(map(_kind, place.genes))
    keys = {name: name if kinds[_kind(name)] > 1 else _kind(name) for name in place.genes}
    for indices in product(*(range(len(choices[name])) for name in place.genes)):
        names = dict(zip(place.genes, indices, strict=True))
        if place.operator is None or isinstance(place.operator, Operator):
            yield names, place.operator
        else:
            yield names, place.operator(**{keys[name]: choices[name][index] for name, index in names.items()})
