"""Which networks stay in a population: the best, but not all of one shape.

Networks of one shape (resolution and depths) differ by many small changes, which evolution finds; from one shape to
another it is a large change, after which all the small ones have to be made anew. A population that holds the best
alone soon holds one shape, and not always the right one. So a shape has only so many places (clearing with a niche
capacity; Pétrowski, "A clearing procedure as a niching method for genetic algorithms", 1996).

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.search.population import Population
from hwnas.spaces import Genotypes, Space

__all__ = ["Selection"]


class Selection:
    """Keeps `size` networks, of a shape `size * most_alike`, and more only where all shapes together don't fill it."""

    def __init__(self, space: Space, size: int, most_alike: float) -> None:
        self._size, self._places = size, max(1, round(most_alike * size))
        self._shape_genes = np.flatnonzero(space.shared_genes)
        choices = space.cardinalities[self._shape_genes]
        self._radix = np.cumprod([1, *choices])[: len(choices)]

    def __call__(self, populations: Sequence[Population]) -> Population:
        """Of all of them together, the best first; of rows that stand in several, one."""
        found = Population.joined(populations).ranked()
        if len(populations) > 1 and len(found) > 1:
            rows, accuracy, latency = found.genotypes, found.accuracy, found.latency_ms
            same = (accuracy[1:] == accuracy[:-1]) & (latency[1:] == latency[:-1]) & (rows[1:] == rows[:-1]).all(axis=1)
            found = found[np.concatenate([[True], ~same])]
        return found[self._stay(found.genotypes)]

    def _stay(self, rows: Genotypes) -> NDArray[np.int64] | slice:
        """Which of `rows`, the best first."""
        if len(rows) <= self._places:
            return slice(self._size)
        shape = rows[:, self._shape_genes] @ self._radix
        by_shape = np.argsort(shape, kind="stable")
        starts = np.flatnonzero(np.diff(shape[by_shape], prepend=-1))
        place = np.empty(len(rows), dtype=np.int64)
        place[by_shape] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        # The best without a place fill what is left.
        return np.sort(np.argsort(place >= self._places, kind="stable")[: self._size])
