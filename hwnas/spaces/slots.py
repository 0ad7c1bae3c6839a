"""Which operators stand where, collected one choice after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.spaces.operators import Operator
from hwnas.spaces.space import Gene, Slot

__all__ = ["SlotTables"]


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
        if operator.stride > min(operator.in_height, operator.in_width):
            raise ConfigError(
                f"space.resolution: {self._genes[-1].choices[resolution]} is too small for the strides: at {slot}, of"
                f" stride {operator.stride}, {operator.in_height}×{operator.in_width} pixels are left; give larger"
                " resolutions or fewer strides of 2"
            )
        choices = choices or {}
        columns = (*(self._columns[name] for name in choices), len(self._genes) - 1)
        if slot not in self._tables:
            shape = [len(self._genes[column].choices) for column in columns]
            self._tables[slot] = columns, np.full(shape, -1, dtype=np.int64)
        where = (*choices.values(), resolution)
        self._tables[slot][1][where] = self._found.setdefault(operator, len(self._found))

    def finish(self) -> tuple[tuple[Operator, ...], tuple[Slot, ...]]:
        """`Space.operators` and `Space.slots`."""
        return tuple(self._found), tuple(Slot(name, *table) for name, table in self._tables.items())
