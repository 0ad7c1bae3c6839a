"""Regularised evolution: parents by tournament, and death by age (Real et al., AAAI 2019).

Shapes: N architectures, G genes, P population, C children.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.progress import Progress, no_progress
from hwnas.search.config import RegularizedConfig
from hwnas.search.population import Archive, Population, Score
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes, Space

__all__ = ["mutate_groups", "regularized_evolution"]

_TIRED = 50


def regularized_evolution(
    problem: Problem,
    config: RegularizedConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The most accurate network found within the budget, after `config.evaluations` of them.

    Children over the budget are repaired as in `evolve`, and what was evaluated before is not evaluated again: it
    neither joins nor counts. Ends early where 50 generations in a row bring nothing new, as in a small space.
    `initial` `[N, G]` joins the first population. Ties and errors as in `evolve`.
    """
    archive = Archive()
    recorder = Recorder(archive)
    children = np.concatenate([problem.starts(initial), problem.space.sample(config.population, rng)])
    # In the order of their age, the oldest first.
    living = Population.empty(len(problem.space.genes))
    best, idle, evaluated = Score(), 0, 0
    progress(0.0, "first population")
    while True:
        children, latency = problem.repair(children, rng)
        fresh = archive.claim(children)
        idle = 0 if fresh.any() else idle + 1
        found = Population.evaluate(problem, archive, children[fresh], latency[fresh])
        evaluated += len(found)
        best = best.or_better(found.best)
        living = Population.joined([living, found])[-config.population :]
        recorder.record(best)
        done = evaluated >= config.evaluations or idle >= _TIRED
        progress(1.0 if done else evaluated / config.evaluations, f"accuracy {best.accuracy:.4f}")
        if done:
            return recorder.result()
        count = min(config.children, config.evaluations - evaluated)
        entrants = rng.integers(0, len(living), size=(count, config.tournament))
        winners = entrants[np.arange(count), living.accuracy[entrants].argmax(axis=1)]
        children = mutate_groups(problem.space, living.genotypes[winners], np.ones(count, dtype=np.int64), rng)


def mutate_groups(space: Space, genotypes: Genotypes, counts: NDArray[np.int64], rng: np.random.Generator) -> Genotypes:
    """`counts` `[N]` gene groups of each row drawn anew, among those with an effect, `[N, G]`, canonical.

    A group may be drawn as it was; a group without effect would make no new network.
    """
    group, groups = space.groups.of_gene, len(space.groups)
    effective = np.zeros((len(genotypes), groups), dtype=bool)
    active = space.active(genotypes) & (space.cardinalities > 1)
    for column, number in enumerate(group):
        effective[:, number] |= active[:, column]
    order = np.argsort(np.where(effective, rng.random(effective.shape), 2.0), axis=1)
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(groups), order.shape), axis=1)
    fresh = rng.integers(0, space.cardinalities, size=genotypes.shape)
    # One gene of a group at least differs: its choice is moved on by a random step.
    steps = rng.integers(1, np.maximum(space.cardinalities, 2), size=genotypes.shape)
    moved = (genotypes + steps) % space.cardinalities
    same = np.ones((len(genotypes), groups), dtype=bool)
    for column, number in enumerate(group):
        same[:, number] &= fresh[:, column] == genotypes[:, column]
    fresh = np.where(same[:, group], moved, fresh)
    return space.canonical(np.where((rank < counts[:, None])[:, group], fresh, genotypes))
