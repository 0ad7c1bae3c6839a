"""The searchers by name, behind one signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.progress import Progress, no_progress, part
from hwnas.search.config import SearchConfig
from hwnas.search.evolution import evolve
from hwnas.search.guided import Slopes
from hwnas.search.islands import evolve_islands
from hwnas.search.nsga2 import nsga2
from hwnas.search.problem import Objective
from hwnas.search.random_search import random_search
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
) -> SearchResult:
    """The most accurate network within `budget_ms` by `config.method`; everything else as in `evolve`.

    `slopes`, where the predictor has them, are for `islands` (see `hwnas.search.guided`).
    """
    objectives = (space, accuracy, latency_ms)
    if config.method == "random":
        return random_search(*objectives, budget_ms, fastest, config.random, rng, progress, initial=initial)
    if config.method == "evolution":
        return evolve(*objectives, budget_ms, fastest, config.evolution, rng, progress, initial=initial)
    if config.method == "nsga2":
        return nsga2(*objectives, [budget_ms], fastest, config.nsga2, rng, progress, initial=initial)[0]
    (result,) = evolve_islands(
        *objectives, [budget_ms], fastest, config.islands, rng, progress, initial=initial, slopes=slopes
    )
    return result


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
        results = nsga2(*objectives, budgets_ms, fastest, config.nsga2, rng, progress, initial=initial)
    else:
        results = []
        for number, budget in enumerate(budgets_ms):
            results.append(
                search(
                    *objectives, budget, fastest, config, rng, part(progress, number, len(budgets_ms)),
                    initial=np.concatenate([known, *(one.genotype[None] for one in results)]),
                )
            )  # fmt: skip
        return results, sum(one.evaluations for one in results), sum(one.elapsed_s for one in results)
    return results, results[0].evaluations, max(result.elapsed_s for result in results)
