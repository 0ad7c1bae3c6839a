"""What every searcher returns.

Shapes: N architectures evaluated, G genes, T steps of history.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.search.archive import Archive, ranked
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["Recorder", "SearchHistory", "SearchResult"]


@dataclass(frozen=True)
class SearchHistory:
    """The best so far after each step (generation or batch), `[T]` each; step 0 is the first population."""

    evaluations: NDArray[np.int64]
    accuracy: Floats
    latency_ms: Floats
    elapsed_s: Floats

    def to_dict(self) -> dict[str, list[Any]]:
        """JSON-able columns."""
        return {
            "evaluations": self.evaluations.tolist(),
            "accuracy": self.accuracy.tolist(),
            "latency_ms": self.latency_ms.tolist(),
            "elapsed_s": np.round(self.elapsed_s, 4).tolist(),
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


@dataclass
class Recorder:
    """Collects the history while a searcher runs, and makes the result."""

    archive: Archive
    started: float = field(default_factory=time.perf_counter)
    steps: list[tuple[int, float, float, float]] = field(default_factory=list)

    def record(self, accuracy: float, latency_ms: float) -> None:
        """The best so far after one more step."""
        self.steps.append((len(self.archive), accuracy, latency_ms, time.perf_counter() - self.started))

    def result(self, budget_ms: float = np.inf) -> SearchResult:
        """The best of the archive within `budget_ms`, ties to the faster network, then to the earlier one."""
        genotypes, accuracy, latency = self.archive.arrays()
        if budget_ms < np.inf:
            within = latency <= budget_ms
            genotypes, accuracy, latency = genotypes[within], accuracy[within], latency[within]
        best = ranked(accuracy, latency)[0]
        evaluations, best_accuracy, best_latency, elapsed = zip(*self.steps, strict=True)
        return SearchResult(
            genotype=genotypes[best],
            accuracy=float(accuracy[best]),
            latency_ms=float(latency[best]),
            history=SearchHistory(
                np.array(evaluations, dtype=np.int64),
                np.array(best_accuracy),
                np.array(best_latency),
                np.array(elapsed),
            ),
            evaluations=len(self.archive),
            elapsed_s=time.perf_counter() - self.started,
            archive_genotypes=genotypes,
            archive_accuracy=accuracy,
            archive_latency_ms=latency,
        )
