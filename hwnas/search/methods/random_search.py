"""Random search: the baseline that every searcher has to beat (Li and Talwalkar, UAI 2019)."""

from __future__ import annotations

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.archive import Archive, ranked
from hwnas.search.config import RandomSearchConfig
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
    best = (-np.inf, np.inf)
    for drawn in range(-_BATCH, config.samples, _BATCH):
        # What is known already is the first batch.
        batch = known if drawn < 0 else problem.space.sample(min(_BATCH, config.samples - drawn), rng)
        latency = problem.measure_latency(batch)
        within = latency <= problem.budget_ms
        batch, latency = batch[within], latency[within]
        fresh = archive.claim(batch)
        if fresh.any():
            batch, latency = batch[fresh], latency[fresh]
            found = problem.measure_accuracy(batch)
            archive.add(batch, found, latency)
            top = ranked(found, latency)[0]
            if (found[top], -latency[top]) > (best[0], -best[1]):
                best = (float(found[top]), float(latency[top]))
        recorder.record(*best)
        progress(min(1.0, (drawn + _BATCH) / config.samples), f"accuracy {best[0]:.4f}")
    return recorder.result()
