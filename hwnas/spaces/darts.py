"""The space of DARTS (Liu et al., ICLR 2019): a normal and a reduction cell, of nodes that add up two edges each.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, ConfigError, choices
from hwnas.operators import (
    AvgPool,
    Conv,
    FactorizedReduce,
    GlobalPool,
    Identity,
    Linear,
    MaxPool,
    Operator,
    ReluConv,
    SepConv,
)
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.mobile import check_common
from hwnas.spaces.settings import check_known, described
from hwnas.spaces.slots import SlotTables
from hwnas.spaces.space import Space

__all__ = ["EDGE_OPERATORS", "DartsConfig", "DartsSpace"]

EDGE_OPERATORS = (
    "max_pool_3x3", "avg_pool_3x3", "skip_connect", "dil_conv_3x3", "dil_conv_5x5", "sep_conv_3x3", "sep_conv_5x5",
)  # fmt: skip
"""What the two edges into a node may be, by their multiplications. The eighth, `none`, is what all other edges are."""

CELLS = ("normal", "reduce")
_INPUTS = 2  # of a cell: the outputs of the two cells before
_REDUCTIONS = 4  # by what the size is divided in all


@dataclass(frozen=True)
class DartsConfig:
    """What such networks are made of: `cells`, of which those at one and at two thirds halve the size and double the
    channels, which begin at `width`; the first convolution has `stem_multiplier` times as many. A cell has `nodes`. A
    network chooses of `resolution`. `in_channels` and `classes` may be 0, "as the data set has".
    """

    family: ClassVar[str] = "darts"

    name: str = "darts"
    resolution: tuple[int, ...] = (32,)
    width: int = 36
    cells: int = 20
    nodes: int = 4
    stem_multiplier: int = 3
    in_channels: int = 3
    classes: int = 10

    def __post_init__(self) -> None:
        check_common(self, ("resolution",))
        if self.cells < 3 or min(self.width, self.nodes, self.stem_multiplier) < 1:
            raise ConfigError(
                "space.cells, width, nodes, stem_multiplier: expected 3 cells or more and positive numbers, got"
                f" {self.cells}, {self.width}, {self.nodes} and {self.stem_multiplier}"
            )
        if wrong := [size for size in self.resolution if size % _REDUCTIONS]:
            raise ConfigError(f"space.resolution: expected multiples of {_REDUCTIONS}, got {wrong}")

    @property
    def stage_depths(self) -> tuple[tuple[int, ...], ...]:
        """None: every network has all cells."""
        return ()

    def space(self) -> DartsSpace:
        """The space of these settings. Raises ConfigError where its classes or channels are 0."""
        return DartsSpace(self)


class DartsSpace(Space):
    """Genes of both cells: `normal_in` and `reduce_in`, which two of those before it a node reads, for each node that
    has a choice; `normal_op` and `reduce_op`, what its two edges are, as in `EDGE_OPERATORS`; `r`.

    An arch has the published form of a genotype: `normal` and `reduce`, a list of `[operator, input]`, two a node, of
    which inputs 0 and 1 are the cells before, the next ones the nodes.
    """

    def __init__(self, config: DartsConfig) -> None:
        check_known(config)
        self.settings = config
        self.name = config.name
        self.in_channels, self.classes, self.resolutions = config.in_channels, config.classes, config.resolution
        self.pairs = tuple(tuple(combinations(range(node + _INPUTS), 2)) for node in range(config.nodes))
        self.genes = (
            *(
                Gene(f"{cell}_in{node}", tuple(range(len(pairs))), f"{cell}{node}")
                for cell in CELLS for node, pairs in enumerate(self.pairs) if len(pairs) > 1
            ),
            *(
                Gene(f"{cell}_op{edge}", tuple(range(len(EDGE_OPERATORS))), f"{cell}{edge // 2}")
                for cell in CELLS for edge in range(2 * config.nodes)
            ),
            Gene("r", config.resolution, "resolution"),
        )  # fmt: skip
        tables = SlotTables(self.genes)
        for index, resolution in enumerate(config.resolution):
            self._place(tables, index, resolution)
        self.operators, self.slots = tables.finish()

    def config(self) -> dict[str, Any]:
        return described(self.settings)

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.ones(genotypes.shape, dtype=bool)

    def to_published(self, values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for cell in CELLS:
            chosen = [0, *values.get(f"{cell}_in", ())]  # of two inputs there is one pair
            operators = [EDGE_OPERATORS[operator] for operator in values[f"{cell}_op"]]
            inputs = [source for pairs, choice in zip(self.pairs, chosen, strict=True) for source in pairs[choice]]
            found[cell] = [list(edge) for edge in zip(operators, inputs, strict=True)]
        return {**found, "r": values["r"]}

    def from_published(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        found: dict[str, Any] = {"r": values["r"]}
        for cell in CELLS:
            edges = self._edges(cell, values.get(cell))
            found[f"{cell}_in"], found[f"{cell}_op"] = [], []
            for node, pairs in enumerate(self.pairs):
                own = sorted(edges[2 * node : 2 * node + 2], key=lambda edge: edge[1])
                pair = (own[0][1], own[1][1])
                if pair not in pairs:
                    raise ArchError(
                        f"arch of space {self.name}: {cell}: node {node + _INPUTS} reads {list(pair)}: expected two of"
                        f" 0 to {node + _INPUTS - 1}"
                    )
                if len(pairs) > 1:
                    found[f"{cell}_in"].append(pairs.index(pair))
                found[f"{cell}_op"] += [EDGE_OPERATORS.index(name) for name, _ in own]
        return found

    def _edges(self, cell: str, given: object) -> Sequence[tuple[str, int]]:
        count = 2 * self.settings.nodes
        form = f"arch of space {self.name}: {cell}: expected {count} of [operator, input], two a node"
        if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != count:
            raise ArchError(f"{form}, got {given!r:.80}")
        for edge in given:
            if not isinstance(edge, Sequence) or isinstance(edge, str) or len(edge) != 2 or type(edge[1]) is not int:
                raise ArchError(f"{form}, got {edge!r:.80} among them")
            if edge[0] not in EDGE_OPERATORS:
                raise ArchError(
                    f"arch of space {self.name}: {cell}: operator {edge[0]!r} unknown;"
                    f" {choices(edge[0], EDGE_OPERATORS)}"
                )
        return [(name, source) for name, source in given]

    def _place(self, tables: SlotTables, index: int, size: int) -> None:
        """The slots of one resolution, by its index."""
        config = self.settings
        width, channels = config.width, config.width * config.stem_multiplier
        stem = Conv(size, size, config.in_channels, channels, kernel=3)
        tables.place("stem", stem, index)
        before = [("stem", size, channels), ("stem", size, channels)]  # slot, pixels, channels
        for number in range(config.cells):
            reduces = number in (config.cells // 3, 2 * config.cells // 3)
            width *= 2 if reduces else 1
            name = f"cell{number}"
            inputs = []
            for place, (slot, pixels, given) in enumerate(before):
                halves = pixels > size  # the cell in between has halved the size
                kind = FactorizedReduce if halves else ReluConv
                inputs.append(f"{name}input{place}")
                tables.wire(inputs[-1], [slot])
                tables.place(inputs[-1], kind(pixels, pixels, given, width), index)
            self._cell(tables, index, name, inputs, (size, width, reduces))
            size = size // 2 if reduces else size
            before = [before[1], (name, size, config.nodes * width)]
        slot, size, channels = before[1]
        tables.place("pool", GlobalPool(size, size, channels, channels), index)
        tables.place("classifier", Linear(1, 1, channels, config.classes), index)

    def _cell(
        self, tables: SlotTables, index: int, name: str, inputs: Sequence[str], shape: tuple[int, int, bool]
    ) -> None:
        """A cell of pixels and channels, and whether it halves the size: the slot `name` has its output."""
        size, width, reduces = shape
        cell, nodes = CELLS[reduces], list(inputs)
        for node, pairs in enumerate(self.pairs):
            edges = []
            for source in range(node + _INPUTS):
                edges.append(f"{name}edge{source}_{node + _INPUTS}")
                tables.wire(edges[-1], [nodes[source]], is_edge=True)
                stride = 2 if reduces and source < _INPUTS else 1
                pixels = size // 2 if reduces and source >= _INPUTS else size
                for choice, operator in enumerate(_edge_operators(pixels, width, stride)):
                    for side in range(2):
                        reads = np.array([pair[side] == source for pair in pairs])
                        which = {f"{cell}_in{node}": reads} if len(pairs) > 1 else {}
                        if not reads.any():
                            continue
                        ops = {f"{cell}_op{2 * node + one}": choice if one == side else slice(None) for one in range(2)}
                        tables.place(edges[-1], operator, index, {**which, **ops})
            nodes.append(f"{name}node{node + _INPUTS}")
            tables.wire(nodes[-1], edges)
        tables.wire(name, nodes[_INPUTS:], "concat")


def _edge_operators(size: int, width: int, stride: int) -> list[Operator]:
    """Those of `EDGE_OPERATORS`, in their order."""
    square = (size, size, width, width)
    return [
        MaxPool(*square, kernel=3, stride=stride),
        AvgPool(*square, kernel=3, stride=stride),
        Identity(*square) if stride == 1 else FactorizedReduce(*square),
        SepConv(*square, kernel=3, stride=stride, dilation=2, repeats=1),
        SepConv(*square, kernel=5, stride=stride, dilation=2, repeats=1),
        SepConv(*square, kernel=3, stride=stride),
        SepConv(*square, kernel=5, stride=stride),
    ]
