"""NSGA-II for accuracy, latency and whatever else: the whole front in one run (Deb et al., IEEE TEC 2002).

Shapes: N architectures, P population, B budgets, K objectives, of all of which less is better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.progress import Progress, no_progress
from hwnas.search.config import NsgaConfig
from hwnas.search.pareto import non_dominated_values
from hwnas.search.population import Archive, Population, Score
from hwnas.search.problem import Objective, Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["crowding", "nsga2", "ranks"]


def nsga2(
    problems: Sequence[Problem],
    config: NsgaConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    more: Sequence[Objective] = (),
) -> list[SearchResult]:
    """One search up to the largest budget of `problems`, and of all that it evaluated the best for each, `[B]`.

    Parents are drawn by tournaments of two (rank, then crowding), children crossed over and mutated; what exceeds the
    largest budget is repaired as in `evolve`. `more` objectives, of which less is better, join accuracy and latency in
    what makes a front. Results share evaluations and time. Ties and errors as in `evolve`.
    """
    space = problems[0].space
    widest = max(problems, key=lambda problem: problem.budget_ms)
    archive = Archive()
    recorders = [Recorder(archive) for _ in problems]
    bests = [Score()] * len(problems)

    rows, values = np.empty((0, len(space.genes)), dtype=np.int64), np.empty((0, 2 + len(more)))
    rank, spread = np.empty(0, dtype=np.int64), np.empty(0)
    children = np.concatenate([widest.starts(initial), space.sample(config.population, rng)])
    for generation in range(config.generations + 1):
        children, latency = widest.repair(children, rng)
        fresh = archive.claim(children)
        if fresh.any():
            found = Population.evaluate(widest, archive, children[fresh], latency[fresh])
            for number, problem in enumerate(problems):
                bests[number] = bests[number].or_better(found[found.latency_ms <= problem.budget_ms].best)
            others = [np.asarray(objective(found.genotypes), dtype=np.float64) for objective in more]
            rows = np.concatenate([rows, found.genotypes])
            values = np.concatenate([values, np.stack([-found.accuracy, found.latency_ms, *others], axis=1)])
            rank = ranks(values, config.population)
            spread = crowding(values, rank)
            kept = np.lexsort((-spread, rank))[: config.population]
            rows, values, rank, spread = rows[kept], values[kept], rank[kept], spread[kept]
        for recorder, best in zip(recorders, bests, strict=True):
            recorder.record(best)
        progress(generation / max(config.generations, 1), f"{int((rank == 0).sum())} on the front")
        if generation < config.generations:
            first, second = (rows[_tournament(rank, spread, config.population, rng)] for _ in range(2))
            crossed = space.crossover(first, second, rng)
            children = space.mutate(crossed, config.mutation_probability, rng)
    return [recorder.result(problem.budget_ms) for recorder, problem in zip(recorders, problems, strict=True)]


def ranks(values: Floats, enough: int) -> NDArray[np.int64]:
    """The front that each of `values` `[N, K]` stands on, 0 the best, `[N]`; once `enough` have one, the rest share
    the next."""
    rank = np.full(len(values), -1, dtype=np.int64)
    left, level = np.arange(len(values)), 0
    while len(left) and len(values) - len(left) < enough:
        on_front = non_dominated_values(values[left])
        rank[left[on_front]] = level
        left, level = left[~on_front], level + 1
    rank[left] = level
    return rank


def crowding(values: Floats, rank: NDArray[np.int64]) -> Floats:
    """How far the neighbours on its own front are from each, as a share of the front's extent, `[N]`; ends infinite."""
    distance = np.zeros(len(rank))
    for column in values.T:
        order = np.lexsort((column, rank))
        ordered, level = column[order], rank[order]
        starts = np.concatenate([[True], level[1:] != level[:-1]])
        ends = np.concatenate([starts[1:], [True]])
        begin = np.flatnonzero(starts)
        extent = np.maximum.reduceat(ordered, begin) - np.minimum.reduceat(ordered, begin)
        width = np.repeat(extent, np.diff(np.append(begin, len(ordered))))
        gap = np.roll(ordered, -1) - np.roll(ordered, 1)
        share = np.where(starts | ends, np.inf, gap / np.where(width > 0, width, 1.0))
        distance[order] += share
    return distance


def _tournament(rank: NDArray[np.int64], spread: Floats, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    pairs = rng.integers(0, len(rank), size=(2, count))
    first, second = pairs
    wins = (rank[first] < rank[second]) | ((rank[first] == rank[second]) & (spread[first] >= spread[second]))
    return np.asarray(np.where(wins, first, second))
