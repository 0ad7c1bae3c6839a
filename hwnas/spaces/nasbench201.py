"""The NAS-Bench-201 space (Dong and Yang, ICLR 2020): one cell of six edges, five operators each, repeated 15 times.

Shapes: N architectures. Edges are in the order of the published strings: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ArchError, choices
from hwnas.operators import Conv, GlobalPool, Linear, Operator
from hwnas.spaces.arch import Arch
from hwnas.spaces.cells import Cell, Kernel
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.slots import Slot
from hwnas.spaces.space import Space

__all__ = ["EDGES", "EDGE_OPERATORS", "NasBench201Space", "edge_kernels", "flow"]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
EDGE_OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STAGES = ((32, 16), (16, 32), (8, 64))  # resolution, channels
_CELLS_PER_STAGE = 5
_OUTPUT = 3
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


class NasBench201Space(Space):
    """The cells as others measured them.

    Genes `edge0` to `edge5`, choices 0 to 4 as in `EDGE_OPERATORS`; a cell's string is the arch's key `cell`.

    Every edge counts as having an effect: a runtime that does not remove dead code runs edges that lead nowhere.
    `live` tells them. Operators are the convolutions, for MACs and parameters; pooling, identities and additions
    have neither.
    """

    archs_are_text = True
    edge_operators = EDGE_OPERATORS
    """What each choice of an edge is."""

    def __init__(self, classes: int = 10) -> None:
        self.name = "nasbench201"
        self.classes = classes
        self.genes = tuple(Gene(f"edge{edge}", tuple(range(5)), f"edge{edge}") for edge in range(len(EDGES)))
        self.operators, self.slots = _build_slots(classes)

    def config(self) -> dict[str, Any]:
        return {"name": self.name, "classes": self.classes}

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.ones(genotypes.shape, dtype=bool)

    def arch(self, genotype: Genotypes) -> Arch:
        return Arch(self.name, {"cell": self.cell_text(genotype)})

    def genotype(self, arch: Arch | Mapping[str, Any] | str) -> Genotypes:
        """Of an arch, or of a cell's string alone."""
        values: Any = arch.to_dict() if isinstance(arch, Arch) else arch
        if isinstance(values, Mapping):
            if values.get("space", self.name) != self.name:
                raise ArchError(f"arch is of space {values['space']!r}, expected {self.name!r}")
            values = values.get("cell")
        return self.cell_row(values)

    def cell_text(self, row: Genotypes) -> str:
        """The published string of a cell's six choices."""
        named = [f"{self.edge_operators[int(op)]}~{source}" for op, (source, _) in zip(row, EDGES, strict=True)]
        nodes = [named[:1], named[1:3], named[3:]]
        return "+".join("|" + "|".join(node) + "|" for node in nodes)

    def cell_row(self, values: object) -> Genotypes:
        """The six choices of a cell's string. Raises ArchError for anything else."""
        if not isinstance(values, str):
            raise ArchError(f"arch of space {self.name}: expected a cell such as {_FORM}, got {values!r}")
        if not re.fullmatch(r"\|[^|~]+~0\|\+\|[^|~]+~0\|[^|~]+~1\|\+\|[^|~]+~0\|[^|~]+~1\|[^|~]+~2\|", values):
            raise ArchError(f"arch of space {self.name}: expected a cell of the form {_FORM}, got {values!r}")
        found = re.findall(r"\|?([^|~+]+)~\d", values)
        for name in found:
            if name not in self.edge_operators:
                raise ArchError(
                    f"arch of space {self.name}: operator {name!r} unknown; {choices(name, self.edge_operators)}"
                )
        return np.array([self.edge_operators.index(name) for name in found], dtype=np.int64)

    @cached_property
    def cell(self) -> Cell:
        return Cell(EDGES, _OUTPUT, edge_kernels(self.edge_operators, STAGES), self.live)

    @staticmethod
    def live(genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which edges are left once dead code is removed, `[N, 6]`.

        An edge is live when the cell's output depends on its result: every later node on some way to the output is
        joined by operators other than `none`. A cell whose output does not depend on its input has no live edge.
        """
        joined, needed, reached = flow(genotypes)
        of_edge = np.stack([needed[:, target] for _, target in EDGES], axis=1)
        return np.asarray(of_edge & joined & reached[:, _OUTPUT:])


def flow(genotypes: Genotypes) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Which edges are not `none` `[N, 6]`, which nodes the output depends on, and which on the input, `[N, 4]`."""
    joined = genotypes != 0
    needed = np.zeros((len(genotypes), _OUTPUT + 1), dtype=bool)
    reached = np.zeros_like(needed)
    needed[:, _OUTPUT] = reached[:, 0] = True
    for edge, (source, target) in enumerate(EDGES):
        reached[:, target] |= reached[:, source] & joined[:, edge]
    for edge, (source, target) in reversed(list(enumerate(EDGES))):
        needed[:, source] |= needed[:, target] & joined[:, edge]
    return joined, needed, reached


def edge_kernels(operators: Sequence[str], stages: Sequence[tuple[int, int]]) -> tuple[tuple[Kernel, ...], ...]:
    """What each operator runs as, on an edge of the cells of each stage, of pixels and channels: pooling and additions
    move numbers too.
    """
    # Taps of a channel, numbers moved for each that is written, and whether a tap is of all channels, with weights.
    facts = {"skip_connect": (0, 2, False), "nor_conv_1x1": (1, 3, True), "nor_conv_3x3": (9, 3, True),
             "avg_pool_3x3": (9, 3, False)}  # fmt: skip
    found: dict[str, list[Kernel]] = {name: [] for name in operators}
    for size, width in stages:
        numbers = size * size * width
        for name, (taps, moved, dense) in facts.items():
            weights = width * width * taps if dense else 0
            found[name].append((numbers * taps * (width if dense else 1), numbers * moved + weights))
    return tuple(map(tuple, found.values()))


def _build_slots(classes: int) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
    found: dict[Operator, int] = {}

    def fixed(name: str, operator: Operator) -> Slot:
        position = found.setdefault(operator, len(found))
        return Slot(name, (0,), np.full(len(EDGE_OPERATORS), position, dtype=np.int64))

    slots = [fixed("stem", Conv(32, 32, 3, STAGES[0][1], kernel=3))]
    for stage, (size, width) in enumerate(STAGES):
        if stage:
            # The residual block between stages: two 3×3 convolutions, and a 1×1 one beside them after pooling.
            before = width // 2
            slots.append(fixed(f"reduce{stage}a", Conv(2 * size, 2 * size, before, width, kernel=3, stride=2)))
            slots.append(fixed(f"reduce{stage}b", Conv(size, size, width, width, kernel=3)))
            slots.append(fixed(f"reduce{stage}c", Conv(size, size, before, width, norm=False)))
        point = found.setdefault(Conv(size, size, width, width, activation="relu"), len(found))
        wide = found.setdefault(Conv(size, size, width, width, kernel=3, activation="relu"), len(found))
        ids = np.array([-1, -1, point, wide, -1], dtype=np.int64)
        for cell in range(_CELLS_PER_STAGE):
            slots += [Slot(f"stage{stage}cell{cell}edge{edge}", (edge,), ids) for edge in range(len(EDGES))]
    slots.append(fixed("pool", GlobalPool(8, 8, 64, 64)))
    slots.append(fixed("classifier", Linear(1, 1, 64, classes)))
    return tuple(found), tuple(slots)
