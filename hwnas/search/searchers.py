"""The searchers by name, behind one signature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.progress import Progress, no_progress, part
from hwnas.search.config import SearchConfig
from hwnas.search.methods.bananas import Surrogate, bananas
from hwnas.search.methods.evolution import evolve
from hwnas.search.methods.guided import Slopes
from hwnas.search.methods.islands import evolve_islands
from hwnas.search.methods.local_search import local_search
from hwnas.search.methods.nsga2 import nsga2
from hwnas.search.methods.random_search import random_search
from hwnas.search.methods.regularized import regularized_evolution
from hwnas.search.problem import Objective, Problem
from hwnas.search.result import SearchResult
from hwnas.spaces import Genotypes

__all__ = ["search", "search_budgets"]


def search(
    problem: Problem,
    config: SearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    slopes: Slopes | None = None,
    surrogate: Surrogate | None = None,
    more: Sequence[Objective] = (),
) -> SearchResult:
    """The most accurate network within the budget by `config.method`; everything else as in `evolve`.

    `slopes`, where the predictor has them, are for `islands` (see `hwnas.search.methods.guided`); `more` objectives, of
    which less is better, for `nsga2`; `surrogate` is what `bananas` learns with, and needs.
    """
    if config.method == "random":
        return random_search(problem, config.random, rng, progress, initial=initial)
    if config.method == "evolution":
        return evolve(problem, config.evolution, rng, progress, initial=initial)
    if config.method == "regularized":
        return regularized_evolution(problem, config.regularized, rng, progress, initial=initial)
    if config.method == "local":
        return local_search(problem, config.local, rng, progress, initial=initial)
    if config.method == "bananas":
        if surrogate is None:
            raise TypeError("search.method=bananas: expected a surrogate to learn with")
        return bananas(problem, config.bananas, rng, progress, surrogate=surrogate, initial=initial)
    results, _, _ = search_budgets(
        [problem], config, rng, progress, initial=initial, slopes=slopes, more=more,
    )  # fmt: skip
    return results[0]


def search_budgets(
    problems: Sequence[Problem],
    config: SearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    slopes: Slopes | None = None,
    surrogate: Surrogate | None = None,
    more: Sequence[Objective] = (),
) -> tuple[list[SearchResult], int, float]:
    """`search` for each of `problems`, budgets rising; the evaluations of all of them together, and their seconds.

    `initial` `[N, G]` joins the first population of each budget. Methods that search for one budget get what the
    tighter ones found, as that meets the wider one as well.
    """
    if config.method == "islands":
        results = evolve_islands(problems, config.islands, rng, progress, initial=initial, slopes=slopes)
    elif config.method == "nsga2":
        results = nsga2(problems, config.nsga2, rng, progress, initial=initial, more=more)
    else:
        results = []
        for number, problem in enumerate(problems):
            known = np.concatenate([problem.starts(initial), *(one.genotype[None] for one in results)])
            results.append(
                search(
                    problem, config, rng, part(progress, number, len(problems)), initial=known, surrogate=surrogate,
                )
            )  # fmt: skip
        return results, sum(one.evaluations for one in results), sum(one.elapsed_s for one in results)
    return results, results[0].evaluations, max(result.elapsed_s for result in results)
