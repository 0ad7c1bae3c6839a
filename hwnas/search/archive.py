"""Everything that a search has evaluated, once each.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["Archive", "ranked", "row_keys"]


def ranked(accuracy: Floats, latency_ms: Floats) -> NDArray[np.int64]:
    """Indices from best to worst: higher accuracy, then lower latency, then the earlier one."""
    return np.lexsort((latency_ms, -accuracy))


class Archive:
    """Distinct canonical genotypes in the order in which they were evaluated, with accuracy and latency.

    Its length counts all that were claimed; `arrays` holds what was added.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._rows: list[tuple[Genotypes, Floats, Floats]] = []
        self._added = 0

    @property
    def added(self) -> int:
        """How many rows `arrays` holds."""
        return self._added

    def __len__(self) -> int:
        return len(self._seen)

    def claim(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which of the canonical `genotypes` were never claimed before; the first of equals counts. `[N]`."""
        fresh = np.zeros(len(genotypes), dtype=bool)
        for row, key in enumerate(row_keys(genotypes)):
            if key not in self._seen:
                self._seen.add(key)
                fresh[row] = True
        return fresh

    def holds(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        """Which of the canonical `genotypes` were claimed before, `[N]`."""
        return np.array([key in self._seen for key in row_keys(genotypes)], dtype=bool)

    def add(self, genotypes: Genotypes, accuracy: Floats, latency_ms: Floats) -> None:
        """Keep what was evaluated of rows that `claim` found to be new."""
        self._rows.append((genotypes, accuracy, latency_ms))
        self._added += len(genotypes)

    def arrays(self) -> tuple[Genotypes, Floats, Floats]:
        """Genotypes `[N, G]`, accuracy `[N]`, latency in ms `[N]`."""
        genotypes, accuracy, latency = zip(*self._rows, strict=True)
        return np.concatenate(genotypes), np.concatenate(accuracy), np.concatenate(latency)


def row_keys(genotypes: Genotypes) -> list[bytes]:
    """One key a row, equal for equal rows alone: a mixed-radix number would overflow 64 bits for such spaces."""
    narrow = np.ascontiguousarray(genotypes, dtype=np.uint16)
    return [row.tobytes() for row in narrow]
