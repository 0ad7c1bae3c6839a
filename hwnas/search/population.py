"""Networks that were evaluated, with accuracy and latency: what searchers keep and pass on.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwnas.search.problem import Problem
from hwnas.spaces import Genotypes
from hwnas.spaces.genes import Floats

__all__ = ["Archive", "Population", "Score", "ranked", "row_keys"]


def ranked(accuracy: Floats, latency_ms: Floats) -> NDArray[np.int64]:
    """Indices from best to worst: higher accuracy, then lower latency, then the earlier one."""
    return np.lexsort((latency_ms, -accuracy))


class Score(NamedTuple):
    """Accuracy and latency of one network; by default, worse than any."""

    accuracy: float = -np.inf
    latency_ms: float = np.inf

    def or_better(self, other: Score) -> Score:
        """The better of the two, as `ranked` has it; this one where they are equal."""
        return max(self, other, key=lambda score: (score.accuracy, -score.latency_ms))


@dataclass(frozen=True)
class Population:
    """Canonical `genotypes` `[N, G]` with their `accuracy` `[N]` and `latency_ms` `[N]`."""

    genotypes: Genotypes
    accuracy: Floats
    latency_ms: Floats

    @classmethod
    def evaluate(
        cls,
        problem: Problem,
        archive: Archive,
        genotypes: Genotypes,
        latency_ms: Floats,
        joins: NDArray[np.bool_] | None = None,
    ) -> Population:
        """`genotypes` `[N, G]`, whose latencies `[N]` are known, with their accuracy; where N is 0, nothing is asked.

        They were claimed of `archive`, and join it: all of them, or those that `joins` `[N]` says.
        """
        if not len(genotypes):
            return cls(genotypes, np.empty(0), latency_ms)
        found = cls(genotypes, problem.measure_accuracy(genotypes), latency_ms)
        archive.add(found if joins is None else found[joins])
        return found

    @classmethod
    def empty(cls, genes: int) -> Population:
        """No networks, of so many genes."""
        return cls(np.empty((0, genes), dtype=np.int64), np.empty(0), np.empty(0))

    @classmethod
    def joined(cls, populations: Sequence[Population]) -> Population:
        """All of at least one, one after the other."""
        return cls(
            np.concatenate([one.genotypes for one in populations]),
            np.concatenate([one.accuracy for one in populations]),
            np.concatenate([one.latency_ms for one in populations]),
        )

    def __len__(self) -> int:
        return len(self.genotypes)

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Population:
        """Those in `rows`: indices, a mask or a slice."""
        return Population(self.genotypes[rows], self.accuracy[rows], self.latency_ms[rows])

    def ranked(self) -> Population:
        """The best first (see `ranked`)."""
        return self[ranked(self.accuracy, self.latency_ms)]

    def score(self, row: int) -> Score:
        """Of the network in a row."""
        return Score(float(self.accuracy[row]), float(self.latency_ms[row]))

    @property
    def best(self) -> Score:
        """Of the best (see `ranked`); where there is none, worse than any."""
        return self.score(int(ranked(self.accuracy, self.latency_ms)[0])) if len(self) else Score()


class Archive:
    """Everything that a search has evaluated: distinct canonical genotypes in the order in which they were.

    Its length counts all that were claimed; `population` holds what was added.
    """

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._parts: list[Population] = []
        self._added = 0

    @property
    def added(self) -> int:
        """How many networks `population` holds."""
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

    def add(self, population: Population) -> None:
        """Keep what was evaluated of genotypes that `claim` found to be new."""
        self._parts.append(population)
        self._added += len(population)

    def population(self) -> Population:
        """All that was added."""
        return Population.joined(self._parts)


def row_keys(genotypes: Genotypes) -> list[bytes]:
    """One key a row, equal for equal rows alone: a mixed-radix number would overflow 64 bits for such spaces."""
    narrow = np.ascontiguousarray(genotypes, dtype=np.uint16)
    return [row.tobytes() for row in narrow]
