"""Local search as a method of its own: climb from random networks, one after another (White et al., UAI 2021)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.config import LocalSearchConfig
from hwnas.search.methods.local import improve
from hwnas.search.population import Archive, Population
from hwnas.search.problem import Objective, Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["local_search"]


def local_search(
    problem: Problem,
    config: LocalSearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The best end of climbs (`improve`) from `fastest`, `initial` `[M, G]` and `config.starts` random networks.

    Starts over the budget are repaired as in `evolve`. Neighbours over the budget are evaluated as well, since what
    they gain says which exchanges to try. Ties and errors as in `evolve`.
    """
    problem = replace(problem, accuracy=_Remembered(problem.accuracy))
    archive = Archive()
    recorder = Recorder(archive)
    starts = np.concatenate([problem.starts(initial), problem.space.sample(config.starts, rng)])
    rows, latency = problem.repair(starts, rng)
    fresh = archive.claim(rows)
    found = Population.evaluate(problem, archive, rows[fresh], latency[fresh])
    best = found.best
    recorder.record(best)
    for number, start in enumerate(found.genotypes):
        progress(number / len(found), f"accuracy {best.accuracy:.4f}")
        best = best.or_better(improve(problem, archive, start, config.pairs))
        recorder.record(best)
    progress(1.0, f"accuracy {best.accuracy:.4f}")
    return recorder.result()


class _Remembered:
    """An objective that is asked once about each network: climbs from different starts meet the same ones."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._known: dict[bytes, float] = {}

    def __call__(self, genotypes: Genotypes) -> Floats:
        keys = [row.tobytes() for row in genotypes]
        new = {key: place for place, key in enumerate(keys) if key not in self._known}
        if new:
            values = self._objective(genotypes[list(new.values())])
            if np.shape(values) != (len(new),):
                return np.asarray(values)  # whoever asked says what is wrong with it
            self._known.update(zip(new, map(float, values), strict=True))
        return np.array([self._known[key] for key in keys])
