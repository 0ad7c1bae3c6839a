"""Slots: the places of a network, and which operators stand there by the choices of genes.

Shapes: O distinct operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, choices
from hwnas.operators import Operator
from hwnas.operators.wiring import JOINS
from hwnas.spaces.genes import Floats, Gene

__all__ = ["Slot", "SlotTables", "with_nothing"]

_NOTHING = -1


@dataclass(frozen=True)
class Slot:
    """One place of the network: which genes decide what stands there.

    `operator_ids` has one axis a gene of `genes`, and holds the index into `Space.operators`, or -1 for nothing.
    It takes what the slots `reads` give, joined by `join` (see `hwnas.operators.wiring`); none named: the slot before.
    Where these give nothing, it takes what the slot `otherwise` gives. Where nothing stands, what it takes is what it
    gives; unless `is_edge`, which gives nothing then, and also where it is given nothing.
    """

    name: str
    genes: tuple[int, ...]
    operator_ids: NDArray[np.int64]
    reads: tuple[str, ...] = ()
    join: str = "add"
    is_edge: bool = False
    otherwise: str = ""

    @property
    def is_wired(self) -> bool:
        """Whether it is more than a place after the one before."""
        return bool(self.reads) or self.is_edge


def with_nothing(values: Floats) -> Floats:
    """`values` `[..., O]` of operators with a 0 behind them, which the operator id -1 of an empty slot reads."""
    return np.append(values, np.zeros((*values.shape[:-1], 1)), axis=-1)


class SlotTables:
    """Slots in the order in which they are first named, and the distinct operators in them. The last of `genes` is the
    resolution's, which every slot depends on.
    """

    def __init__(self, genes: Sequence[Gene]) -> None:
        self._genes = genes
        self._columns = {gene.name: column for column, gene in enumerate(genes)}
        self._found: dict[Operator, int] = {}
        self._tables: dict[str, tuple[tuple[int, ...], NDArray[np.int64]] | None] = {}
        self._wires: dict[str, dict[str, Any]] = {}

    def wire(
        self, slot: str, reads: Sequence[str], join: str = "add", is_edge: bool = False, otherwise: str = ""
    ) -> None:
        """Say what `slot` reads (see `Slot`). One in which no operator is placed joins what it reads.

        Raises ConfigError for another join, and for slots that are not named before.
        """
        if join not in JOINS:
            raise ConfigError(f"{slot}: join: {choices(join, JOINS)}")
        places = list(self._tables)
        before = places[: places.index(slot)] if slot in places else places
        if unknown := [one for one in (*reads, *([otherwise] if otherwise else ())) if one not in before]:
            raise ConfigError(f"{slot} reads {unknown[0]}, which is no place before it; {choices(unknown[0], before)}")
        self._wires[slot] = {"reads": tuple(reads), "join": join, "is_edge": is_edge, "otherwise": otherwise}
        self._tables.setdefault(slot, None)

    def place(self, slot: str, operator: Operator, resolution: int, where: Mapping[str, Any] | None = None) -> None:
        """Put `operator` into `slot` at the index `resolution`, where genes of that name are so: an index, or a
        mask.

        Raises ConfigError where a resolution leaves a strided operator nothing to stride over.
        """
        stride = getattr(operator, "stride", 1)
        if stride > min(operator.in_height, operator.in_width):
            raise ConfigError(
                f"space.resolution: {self._genes[-1].choices[resolution]} is too small for the strides: at {slot}, of"
                f" stride {stride}, {operator.in_height}×{operator.in_width} pixels are left; give larger"
                " resolutions or fewer strides of 2"
            )
        where = where or {}
        columns = (*(self._columns[name] for name in where), len(self._genes) - 1)
        table = self._tables.get(slot) or (columns, self._nothing(columns))
        self._tables[slot] = table
        table[1][(*where.values(), resolution)] = self._found.setdefault(operator, len(self._found))

    def finish(self) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
        """`Space.operators` and `Space.slots`."""
        resolution = (len(self._genes) - 1,)
        return tuple(self._found), tuple(
            Slot(name, *(table or (resolution, self._nothing(resolution))), **self._wires.get(name, {}))
            for name, table in self._tables.items()
        )

    def _nothing(self, columns: Sequence[int]) -> NDArray[np.int64]:
        return np.full([len(self._genes[column].choices) for column in columns], _NOTHING, dtype=np.int64)
