"""The searchers by name, behind one signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.progress import Progress, no_progress, part
from hwnas.search.bananas import Surrogate, bananas
from hwnas.search.config import SearchConfig
from hwnas.search.evolution import evolve
from hwnas.search.guided import Slopes
from hwnas.search.islands import evolve_islands
from hwnas.search.local_search import local_search
from hwnas.search.nsga2 import nsga2
from hwnas.search.problem import Objective
from hwnas.search.random_search import random_search
from hwnas.search.regularized import regularized_evolution
from hwnas.search.result import SearchResult
from hwnas.spaces import Genotypes, Space

__all__ = ["search", "search_budgets"]


def search(
    space: Space,
    accuracy: Objective,
    latency_ms: Objective,
    budget_ms: float,
    fastest: Genotypes,
    config: SearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    slopes: Slopes | None = None,
    surrogate: Surrogate | None = None,
    more: Sequence[Objective] = (),
) -> SearchResult:
    """The most accurate network within `budget_ms` by `config.method`; everything else as in `evolve`.

    `slopes`, where the predictor has them, are for `islands` (see `hwnas.search.guided`); `more` objectives, of
    which less is better, for `nsga2`; `surrogate` is what `bananas` learns with, and needs.
    """
    task = (space, accuracy, latency_ms, budget_ms, fastest)
    if config.method == "random":
        return random_search(*task, config.random, rng, progress, initial=initial)
    if config.method == "evolution":
        return evolve(*task, config.evolution, rng, progress, initial=initial)
    if config.method == "regularized":
        return regularized_evolution(*task, config.regularized, rng, progress, initial=initial)
    if config.method == "local":
        return local_search(*task, config.local, rng, progress, initial=initial)
    if config.method == "bananas":
        if surrogate is None:
            raise TypeError("search.method=bananas: expected a surrogate to learn with")
        return bananas(*task, config.bananas, rng, progress, surrogate=surrogate, initial=initial)
    results, _, _ = search_budgets(
        space, accuracy, latency_ms, [budget_ms], fastest, config, rng, progress,
        initial=initial, slopes=slopes, more=more,
    )  # fmt: skip
    return results[0]


def search_budgets(
    space: Space,
    accuracy: Objective,
    latency_ms: Objective,
    budgets_ms: Sequence[float],
    fastest: Genotypes,
    config: SearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    slopes: Slopes | None = None,
    surrogate: Surrogate | None = None,
    more: Sequence[Objective] = (),
) -> tuple[list[SearchResult], int, float]:
    """`search` for each of `budgets_ms`, rising; the evaluations of all of them together, and their seconds.

    `initial` `[N, G]` joins the first population of each budget. Methods that search for one budget get what the
    tighter ones found, as that meets the wider one as well.
    """
    objectives = (space, accuracy, latency_ms)
    known = fastest[None] if initial is None else initial
    if config.method == "islands":
        results = evolve_islands(
            *objectives, budgets_ms, fastest, config.islands, rng, progress, initial=initial, slopes=slopes
        )
    elif config.method == "nsga2":
        results = nsga2(*objectives, budgets_ms, fastest, config.nsga2, rng, progress, initial=initial, more=more)
    else:
        results = []
        for number, budget in enumerate(budgets_ms):
            results.append(
                search(
                    *objectives, budget, fastest, config, rng, part(progress, number, len(budgets_ms)),
                    initial=np.concatenate([known, *(one.genotype[None] for one in results)]), surrogate=surrogate,
                )
            )  # fmt: skip
        return results, sum(one.evaluations for one in results), sum(one.elapsed_s for one in results)
    return results, results[0].evaluations, max(result.elapsed_s for result in results)
