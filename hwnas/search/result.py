"""What every searcher returns.

Shapes: N architectures evaluated, G genes, T steps of history.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.search.pareto import front, hypervolume
from hwnas.search.population import Archive, Score, ranked
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["Recorder", "SearchHistory", "SearchResult"]


@dataclass(frozen=True)
class SearchHistory:
    """The best so far after each step (generation or batch), `[T]` each; step 0 is the first population.

    `archived`: how many rows of the result's archive there were.
    """

    evaluations: NDArray[np.int64]
    accuracy: Floats
    latency_ms: Floats
    elapsed_s: Floats
    archived: NDArray[np.int64]

    def to_dict(self, steps: NDArray[np.int64] | None = None) -> dict[str, list[Any]]:
        """JSON-able columns of all `steps`, or of those given by number."""
        chosen = slice(None) if steps is None else steps
        return {
            "evaluations": self.evaluations[chosen].tolist(),
            "accuracy": self.accuracy[chosen].tolist(),
            "latency_ms": self.latency_ms[chosen].tolist(),
            "elapsed_s": np.round(self.elapsed_s[chosen], 4).tolist(),
        }


@dataclass(frozen=True)
class SearchResult:
    """The best network within the budget, and everything evaluated on the way.

    `genotype` `[G]`; `evaluations` is the number of distinct networks whose accuracy was asked for. The archive
    arrays `[N, G]`, `[N]`, `[N]` hold those of them that are within the budget, in the order of evaluation.
    """

    genotype: Genotypes
    accuracy: float
    latency_ms: float
    history: SearchHistory
    evaluations: int
    elapsed_s: float
    archive_genotypes: Genotypes
    archive_accuracy: Floats
    archive_latency_ms: Floats

    def best(self, count: int) -> NDArray[np.int64]:
        """Archive indices of the `count` best (all, where there are fewer), best first: for true re-evaluation."""
        return ranked(self.archive_accuracy, self.archive_latency_ms)[:count]

    def history_dict(self, most: int, reference_accuracy: float, reference_latency_ms: float) -> dict[str, list[Any]]:
        """At most `most` steps of the history, evenly spread, the last among them, JSON-able; with the `hypervolume` of
        all that had been found by then (see `hwnas.search.pareto.hypervolume` for the reference).
        """
        count = len(self.history.evaluations)
        steps = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
        accuracy, latency, before = np.empty(0), np.empty(0), 0
        volumes = []
        for rows in self.history.archived[steps]:
            accuracy = np.concatenate([accuracy, self.archive_accuracy[before:rows]])
            latency = np.concatenate([latency, self.archive_latency_ms[before:rows]])
            # What is dominated now stays so.
            kept = front(accuracy, latency)
            accuracy, latency, before = accuracy[kept], latency[kept], int(rows)
            volumes.append(hypervolume(accuracy, latency, reference_accuracy, reference_latency_ms))
        return {**self.history.to_dict(steps), "hypervolume": volumes}


@dataclass
class Recorder:
    """Collects the history while a searcher runs, and makes the result."""

    archive: Archive
    started: float = field(default_factory=time.perf_counter)
    steps: list[tuple[int, float, float, float, int]] = field(default_factory=list)
    last: Score = field(default_factory=Score)

    def record(self, best: Score) -> None:
        """The best so far after one more step."""
        elapsed_s = time.perf_counter() - self.started
        self.steps.append((len(self.archive), *best, elapsed_s, self.archive.added))
        self.last = best

    def result(self, budget_ms: float = np.inf) -> SearchResult:
        """The best of the archive within `budget_ms`, ties to the faster network, then to the earlier one."""
        found = self.archive.population()
        evaluations, best_accuracy, best_latency, elapsed, archived = map(np.array, zip(*self.steps, strict=True))
        if budget_ms < np.inf:
            within = found.latency_ms <= budget_ms
            archived = np.cumsum(np.append(0, within))[archived]
            found = found[within]
        best = int(ranked(found.accuracy, found.latency_ms)[0])
        return SearchResult(
            found.genotypes[best],
            *found.score(best),
            history=SearchHistory(evaluations, best_accuracy, best_latency, elapsed, archived),
            evaluations=len(self.archive),
            elapsed_s=time.perf_counter() - self.started,
            archive_genotypes=found.genotypes,
            archive_accuracy=found.accuracy,
            archive_latency_ms=found.latency_ms,
        )
