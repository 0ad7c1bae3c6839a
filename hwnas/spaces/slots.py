"""Slots: the places of a network, and which operators stand there by the choices of genes.

Shapes: O distinct operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.operators import Operator
from hwnas.spaces.genes import Floats, Gene

__all__ = ["Slot", "SlotTables", "with_nothing"]

_NOTHING = -1


@dataclass(frozen=True)
class Slot:
    """One place of the network: which genes decide what stands there.

    `operator_ids` has one axis a gene of `genes`, and holds the index into `Space.operators`, or -1 for nothing.
    """

    name: str
    genes: tuple[int, ...]
    operator_ids: NDArray[np.int64]


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
        self._tables: dict[str, tuple[tuple[int, ...], NDArray[np.int64]]] = {}

    def place(self, slot: str, operator: Operator, resolution: int, choices: Mapping[str, Any] | None = None) -> None:
        """Put `operator` into `slot` at the index `resolution`, for `choices` of genes by name: an index or a mask.

        Raises ConfigError where a resolution leaves a strided operator nothing to stride over.
        """
        stride = getattr(operator, "stride", 1)
        if stride > min(operator.in_height, operator.in_width):
            raise ConfigError(
                f"space.resolution: {self._genes[-1].choices[resolution]} is too small for the strides: at {slot}, of"
                f" stride {stride}, {operator.in_height}×{operator.in_width} pixels are left; give larger"
                " resolutions or fewer strides of 2"
            )
        choices = choices or {}
        columns = (*(self._columns[name] for name in choices), len(self._genes) - 1)
        if slot not in self._tables:
            shape = [len(self._genes[column].choices) for column in columns]
            self._tables[slot] = columns, np.full(shape, _NOTHING, dtype=np.int64)
        where = (*choices.values(), resolution)
        self._tables[slot][1][where] = self._found.setdefault(operator, len(self._found))

    def finish(self) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
        """`Space.operators` and `Space.slots`."""
        return tuple(self._found), tuple(Slot(name, *table) for name, table in self._tables.items())
