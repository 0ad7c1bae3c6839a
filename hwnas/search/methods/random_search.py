"""Random search: the baseline that every searcher has to beat (Li and Talwalkar, UAI 2019)."""

from __future__ import annotations

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.config import RandomSearchConfig
from hwnas.search.population import Archive, Population, Score
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes

__all__ = ["random_search"]

_BATCH = 5_000


def random_search(
    problem: Problem,
    config: RandomSearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The most accurate of `fastest`, `initial` and those of `config.samples` random networks that meet the budget.

    Networks over the budget are left out, not repaired, and not evaluated. Ties, errors and result as in `evolve`.
    """
    archive = Archive()
    recorder = Recorder(archive)
    known = problem.starts(initial)
    best = Score()
    for drawn in range(-_BATCH, config.samples, _BATCH):
        # What is known already is the first batch.
        batch = known if drawn < 0 else problem.space.sample(min(_BATCH, config.samples - drawn), rng)
        latency = problem.measure_latency(batch)
        within = latency <= problem.budget_ms
        batch, latency = batch[within], latency[within]
        fresh = archive.claim(batch)
        best = best.or_better(Population.evaluate(problem, archive, batch[fresh], latency[fresh]).best)
        recorder.record(best)
        progress(min(1.0, (drawn + _BATCH) / config.samples), f"accuracy {best.accuracy:.4f}")
    return recorder.result()
