"""The NAS-Bench-201 space (Dong and Yang, ICLR 2020): one cell of six edges, five operators each, repeated 15 times.

Shapes: N architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.operators import Conv, GlobalPool, Linear, Operator
from hwnas.spaces.arch import Arch
from hwnas.spaces.cells import Cell, Kernel
from hwnas.spaces.genes import Gene, Genotypes
from hwnas.spaces.nasbench201_cells import EDGES, OUTPUT, flow, row_of, text_of
from hwnas.spaces.slots import Slot
from hwnas.spaces.space import Space

__all__ = ["EDGE_OPERATORS", "NasBench201Space"]

EDGE_OPERATORS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
STAGES = ((32, 16), (16, 32), (8, 64))  # resolution, channels
_CELLS_PER_STAGE = 5


class NasBench201Space(Space):
    """The cells as others measured them; as networks to train, see `hwnas.spaces.nasbench201_networks`.

    Genes `edge0` to `edge5`, choices 0 to 4 as in `EDGE_OPERATORS`; a cell's string is the arch's key `cell`.

    Every edge counts as having an effect: a runtime that does not remove dead code runs edges that lead nowhere.
    `live` tells them. Operators are the convolutions, for MACs and parameters; pooling, identities and additions
    have neither.
    """

    archs_are_text = True

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
        return Arch(self.name, {"cell": text_of(genotype, EDGE_OPERATORS)})

    def genotype(self, arch: Arch | Mapping[str, Any] | str) -> Genotypes:
        """Of an arch, or of a cell's string alone."""
        return row_of(arch, EDGE_OPERATORS, self.name)

    @cached_property
    def cell(self) -> Cell:
        return Cell(EDGES, OUTPUT, _edge_kernels(), self.live)

    @staticmethod
    def live(genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which edges are left once dead code is removed, `[N, 6]`.

        An edge is live when the cell's output depends on its result: every later node on some way to the output is
        joined by operators other than `none`. A cell whose output does not depend on its input has no live edge.
        """
        joined, needed, reached = flow(genotypes)
        of_edge = np.stack([needed[:, target] for _, target in EDGES], axis=1)
        return np.asarray(of_edge & joined & reached[:, OUTPUT:])


def _edge_kernels() -> tuple[tuple[Kernel, ...], ...]:
    """What each operator runs as, on an edge of each stage's cells: pooling and additions move numbers too."""
    # Taps of a channel, numbers moved for each that is written, and whether a tap is of all channels, with weights.
    facts = {"skip_connect": (0, 2, False), "nor_conv_1x1": (1, 3, True), "nor_conv_3x3": (9, 3, True),
             "avg_pool_3x3": (9, 3, False)}  # fmt: skip
    found: dict[str, list[Kernel]] = {name: [] for name in EDGE_OPERATORS}
    for size, width in STAGES:
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
