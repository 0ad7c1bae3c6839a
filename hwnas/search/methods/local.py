"""Local improvement of one network under the budget: what one change, or an exchange of two, can still gain.

Shapes: M changes of one gene group each, G genes.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwnas.search.population import Archive, Population, Score, ranked
from hwnas.search.problem import Problem
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["changes", "improve"]

_ROUNDS = 200
# Predictors are matrix products, which differ in their last bits with the batch: less than this is no gain.
_GAIN = 1e-9


def changes(space: Space, genotype: Genotypes) -> tuple[Genotypes, NDArray[np.int64]]:
    """Every other setting of every single gene group of `genotype` `[G]`: `[M, G]`, and the group of each, `[M]`.

    Not canonical: a change to genes that have no effect here stands among them, for pairs that give it one.
    """
    rows, groups = [], []
    for group, members in enumerate(space.groups.members):
        columns = list(members)
        current = tuple(genotype[columns].tolist())
        for setting in product(*(range(int(space.cardinalities[column])) for column in columns)):
            if setting != current:
                row = genotype.copy()
                row[columns] = setting
                rows.append(row)
                groups.append(group)
    shape = (len(rows), len(space.genes))
    return np.array(rows, dtype=np.int64).reshape(shape), np.array(groups, dtype=np.int64)


def improve(problem: Problem, archive: Archive, start: Genotypes, pairs: int) -> Score:
    """Climb from `start` `[G]`, within the budget, until no neighbour is better; accuracy and latency of the end.

    Neighbours are all changes of one gene group, and when none of those helps, the `pairs` most promising exchanges
    of two: ordered by what the two changes gain when added up, which is exact for additive objectives. Each step
    gains accuracy, or latency at equal accuracy. What was evaluated within the budget joins the archive.
    """
    space, current = problem.space, start
    at = Score(float(problem.measure_accuracy(current[None])[0]), float(problem.measure_latency(current[None])[0]))
    for _ in range(_ROUNDS):
        rows, groups = changes(space, current)
        if not len(rows):
            break
        singles = space.canonical(rows)
        found = singly = _evaluate(problem, archive, singles, problem.measure_latency(singles))
        step = _better(problem, found, at)
        if step is None and pairs:
            first, second = _promising(
                singly.accuracy - at.accuracy, singly.latency_ms - at.latency_ms, groups,
                problem.budget_ms - at.latency_ms, pairs,
            )  # fmt: skip
            both = space.canonical(np.where(rows[first] != current, rows[first], rows[second]))
            latency_ms = problem.measure_latency(both)
            within = latency_ms <= problem.budget_ms
            found = _evaluate(problem, archive, both[within], latency_ms[within])
            step = _better(problem, found, at)
        if step is None:
            break
        current, at = found.genotypes[step], found.score(step)
    return at


def _evaluate(problem: Problem, archive: Archive, genotypes: Genotypes, latency_ms: Floats) -> Population:
    """All of `genotypes`, however often they were met; new ones within the budget join the archive."""
    joins = archive.claim(genotypes) & (latency_ms <= problem.budget_ms)
    return Population.evaluate(problem, archive, genotypes, latency_ms, joins)


def _better(problem: Problem, found: Population, at: Score) -> int | None:
    """The best of `found` that is within the budget and better than `at`, if any is."""
    gains = (found.accuracy > at.accuracy + _GAIN) | (
        (found.accuracy > at.accuracy - _GAIN) & (found.latency_ms < at.latency_ms - _GAIN)
    )
    able = np.flatnonzero(gains & (found.latency_ms <= problem.budget_ms))
    return int(able[ranked(found.accuracy[able], found.latency_ms[able])[0]]) if len(able) else None


def _promising(
    gain: Floats, cost: Floats, groups: NDArray[np.int64], slack: float, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The `count` pairs of changes with the largest summed gain whose summed cost stays within `slack`."""
    first, second = np.triu_indices(len(gain), k=1)
    fits = (groups[first] != groups[second]) & (cost[first] + cost[second] <= slack)
    first, second = first[fits], second[fits]
    order = np.argsort(-(gain[first] + gain[second]), kind="stable")[:count]
    return first[order], second[order]
