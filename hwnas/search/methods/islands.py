"""Evolution for many budgets at once, on islands: what one budget learns serves its neighbours.

Every budget has a population of its own on every island, and each network evaluated competes in all populations of
its island whose budget it meets. Islands keep to themselves, which keeps them different, and each keeps several shapes
of networks (`Selection`), until all are merged for the last part of the search (Whitley et al., "The island model
genetic algorithm", 1999). Then the best alone stay.

Shapes: N architectures, G genes, B budgets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.progress import Progress, no_progress
from hwnas.search.archive import Archive
from hwnas.search.config import IslandsConfig
from hwnas.search.methods.guided import Guide, Slopes
from hwnas.search.methods.local import improve
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.search.selection import Population, Selection
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["evolve_islands"]


def evolve_islands(
    problems: Sequence[Problem],
    config: IslandsConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
    slopes: Slopes | None = None,
) -> list[SearchResult]:
    """The most accurate network found for each of `problems`, in their order, `[B]`; they differ by their budgets.

    A generation makes `config.children` children for each budget: mutations, crossovers, and, where `slopes` says how
    accuracy changes with each gene, as many guided ones (`Guide`). A child over its budget returns genes to its
    parent's, which met it. No network is evaluated twice. At the end the best of each budget climb on (`improve`).

    All results share their evaluations, time and, as far as their budgets admit it, their archive. Ties, and errors
    for whichever budget they concern, as in `evolve`.
    """
    archive = Archive()
    recorders = [Recorder(archive) for _ in problems]
    space = problems[0].space
    budgets = np.array([problem.budget_ms for problem in problems])
    group = _group_of_genes(space)
    select = Selection(space, config.population, config.most_alike)
    guide = None if slopes is None else Guide(space, problems[0].latency_ms, problems[0].fastest, slopes, rng)
    islands = _settle(problems, archive, select, config, rng, initial, guide)
    merge_at = round(config.apart * config.generations)

    for generation in range(config.generations + 1):
        if generation:
            if generation == merge_at + 1:
                select = Selection(space, config.population, most_alike=1.0)
            if generation > merge_at and len(islands) > 1:
                islands = [[select([island[b] for island in islands]) for b in range(len(budgets))]]
            _advance(problems, archive, islands, budgets, group, guide, select, config, rng)
        for number, recorder in enumerate(recorders):
            best = select([island[number] for island in islands])
            recorder.record(float(best[1][0]), float(best[2][0]))
        progress(generation / max(config.generations, 1), f"accuracy {best[1][0]:.4f}")

    for number, (problem, recorder) in enumerate(zip(problems, recorders, strict=True)):
        starts = select([island[number] for island in islands])[0][: config.local_starts]
        found = [improve(problem, archive, start, config.local_pairs) for start in starts]
        if found:
            recorder.record(*max([*found, recorder.steps[-1][1:3]], key=lambda pair: (pair[0], -pair[1])))
    return [recorder.result(float(budget)) for recorder, budget in zip(recorders, budgets, strict=True)]


def _settle(
    problems: Sequence[Problem],
    archive: Archive,
    select: Selection,
    config: IslandsConfig,
    rng: np.random.Generator,
    initial: Genotypes | None,
    guide: Guide | None,
) -> list[list[Population]]:
    """The first populations of each island, one a budget. All islands have `fastest` and `initial`."""
    space = problems[0].space
    known = problems[0].starts(initial)
    parts = [(known, problems[0].measure_latency(known))]
    for problem in problems:
        drawn = space.sample(config.islands * config.population, rng)
        if guide is not None:
            drawn = guide.settle(drawn, np.full(len(drawn), problem.budget_ms))
        parts.append(problem.repair(drawn, rng))
    rows, latency = (np.concatenate(column) for column in zip(*parts, strict=True))
    places = np.tile(np.repeat(np.arange(config.islands), config.population), len(problems))
    owners = np.concatenate([np.full(len(known), -1), places])
    keep = archive.claim(rows) & (latency <= max(problem.budget_ms for problem in problems))
    rows, latency, owners = rows[keep], latency[keep], owners[keep]
    accuracy = problems[0].measure_accuracy(rows)
    archive.add(rows, accuracy, latency)
    islands = []
    for number in range(config.islands):
        own = (owners < 0) | (owners == number)
        within = [own & (latency <= problem.budget_ms) for problem in problems]
        islands.append([select([(rows[fits], accuracy[fits], latency[fits])]) for fits in within])
    return islands


def _advance(
    problems: Sequence[Problem],
    archive: Archive,
    islands: list[list[Population]],
    budgets: Floats,
    group: NDArray[np.int64],
    guide: Guide | None,
    select: Selection,
    config: IslandsConfig,
    rng: np.random.Generator,
) -> None:
    """One generation of all budgets and islands, evaluated together; `islands` is changed in place."""
    populations = [population for island in islands for population in island]
    share = max(2, config.children // len(islands))
    parents = _parents(populations, share, config.pressure, rng)
    limits = np.tile(np.repeat(budgets, share), len(islands))
    children = _breed(problems[0].space, parents, _parents(populations, share, 1.0, rng), group, config, rng)
    owners = np.repeat(np.arange(len(islands)), share * len(budgets))
    if guide is not None:
        count = max(1, share // config.guided_children)
        prices = np.repeat(np.concatenate([_prices(island, budgets) for island in islands]), count)
        start = _parents(populations, count, 1.0, rng)
        repeated, guided = guide.children(start, prices, config.guided_children, rng)
        parents, children = np.concatenate([parents, repeated]), np.concatenate([children, guided])
        more = count * config.guided_children
        limits = np.concatenate([limits, np.tile(np.repeat(budgets, more), len(islands))])
        owners = np.concatenate([owners, np.repeat(np.arange(len(islands)), more * len(budgets))])
    rows, latency = _return_genes(problems[0], children, parents, limits, group, rng)
    fresh = archive.claim(rows)
    if not fresh.any():
        return
    rows, latency, owners = rows[fresh], latency[fresh], owners[fresh]
    accuracy = problems[0].measure_accuracy(rows)
    archive.add(rows, accuracy, latency)
    for number, island in enumerate(islands):
        for place, budget in enumerate(budgets):
            worst = island[place][1][-1] if len(island[place][1]) >= config.population else -np.inf
            joins = (owners == number) & (latency <= budget) & (accuracy >= worst)
            if joins.any():
                island[place] = select([island[place], (rows[joins], accuracy[joins], latency[joins])])


def _breed(
    space: Space,
    parents: Genotypes,
    others: Genotypes,
    group: NDArray[np.int64],
    config: IslandsConfig,
    rng: np.random.Generator,
) -> Genotypes:
    """A child of each of `parents` `[N, G]`: by mutation, or by crossover of whole gene groups with `others`."""
    mutates = rng.random(len(parents)) < config.mutations
    children = np.empty_like(parents)
    children[mutates] = space.mutate(parents[mutates], config.mutation_probability, rng)
    chosen = (rng.random((int((~mutates).sum()), int(group.max()) + 1)) < 0.5)[:, group]
    children[~mutates] = space.canonical(np.where(chosen, others[~mutates], parents[~mutates]))
    return children


def _return_genes(
    problem: Problem,
    children: Genotypes,
    parents: Genotypes,
    budgets: Floats,
    group: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Genotypes, Floats]:
    """Children within their budgets, and their latencies: gene groups go back to the parent's until they are."""
    children, latency = children.copy(), problem.measure_latency(children)
    over = np.flatnonzero(latency > budgets)
    rank = rng.random((len(over), int(group.max()) + 1))
    for returned in (0.35, 0.5, 0.65, 0.8, 0.95, 1.0):
        if not len(over):
            break
        # At 1 all is the parent's, which is within the budget.
        mixed = np.where((rank < returned)[:, group], parents[over], children[over])
        children[over] = problem.space.canonical(mixed)
        latency[over] = problem.measure_latency(children[over])
        still = latency[over] > budgets[over]
        over, rank = over[still], rank[still]
    return children, latency


def _parents(populations: Sequence[Population], count: int, pressure: float, rng: np.random.Generator) -> Genotypes:
    """`count` of each population, `[N, G]`; the higher the pressure, the more of the best."""
    draws = rng.random((len(populations), count)) ** pressure
    return np.concatenate(
        [population[0][(draw * len(population[0])).astype(np.int64)]
         for population, draw in zip(populations, draws, strict=True)]
    )  # fmt: skip


def _prices(island: Sequence[Population], budgets: Floats) -> Floats:
    """What a millisecond is worth at each budget, in accuracy: the slope between neighbouring budgets' best."""
    best = np.array([population[1][0] for population in island])
    if len(budgets) > 1 and np.all(np.diff(budgets) > 0):
        slope = np.gradient(best, budgets)
        typical = max(float((best[-1] - best[0]) / (budgets[-1] - budgets[0])), 1e-9)
    else:
        spread = np.array([population[1][0] - population[1][-1] for population in island])
        slope = typical = np.maximum(spread, 1e-9) / np.maximum(0.05 * budgets, 1e-9)
    return np.asarray(np.clip(slope, typical / 4, typical * 4))


def _group_of_genes(space: Space) -> NDArray[np.int64]:
    names = list(dict.fromkeys(gene.group for gene in space.genes))
    return np.array([names.index(gene.group) for gene in space.genes], dtype=np.int64)
