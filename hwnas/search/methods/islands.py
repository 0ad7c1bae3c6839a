"""Evolution for many budgets at once, on islands: what one budget learns serves its neighbours.

Every budget has a population of its own on every island, and each network evaluated competes in all populations of
its island whose budget it meets. Islands keep to themselves, which keeps them different, and each keeps several shapes
of networks (`Selection`), until all are merged for the last part of the search (Whitley et al., "The island model
genetic algorithm", 1999). Then the best alone stay.

Shapes: N architectures, G genes, B budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from hwnas.progress import Progress, no_progress
from hwnas.search.config import IslandsConfig
from hwnas.search.methods.guided import Guide, Slopes
from hwnas.search.methods.local import improve
from hwnas.search.population import Archive, Population, Score
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.search.selection import Selection
from hwnas.spaces import Genotypes
from hwnas.spaces.genes import Floats

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
    islands = _Islands(problems, config, archive, slopes, rng)
    islands.settle(initial)
    merge_at = round(config.apart * config.generations)

    for generation in range(config.generations + 1):
        if generation == merge_at + 1:
            islands.merge()
        if generation:
            islands.advance()
        for number, recorder in enumerate(recorders):
            best = islands.of_budget(number)
            recorder.record(best.score(0))
        progress(generation / max(config.generations, 1), f"accuracy {best.accuracy[0]:.4f}")

    for number, (problem, recorder) in enumerate(zip(problems, recorders, strict=True)):
        starts = islands.of_budget(number).genotypes[: config.local_starts]
        ends = [improve(problem, archive, start, config.local_pairs) for start in starts]
        if ends:
            recorder.record(reduce(Score.or_better, [*ends, recorder.last]))
    return [recorder.result(problem.budget_ms) for recorder, problem in zip(recorders, problems, strict=True)]


class _Islands:
    """Populations of each budget on each island, the best first: `self.populations[island][budget]`.

    Children of all budgets and islands are evaluated together. All budgets have the first problem's objectives.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        config: IslandsConfig,
        archive: Archive,
        slopes: Slopes | None,
        rng: np.random.Generator,
    ) -> None:
        self._problem, self._config, self._archive, self._rng = problems[0], config, archive, rng
        self._problems = problems
        self._space = problems[0].space
        self._budgets = np.array([problem.budget_ms for problem in problems])
        self._select = Selection(self._space, config.population, config.most_alike)
        self._guide = None
        if slopes is not None:
            self._guide = Guide(self._space, self._problem.latency_ms, self._problem.fastest, slopes, rng)
        self.populations: list[list[Population]] = []

    def settle(self, initial: Genotypes | None) -> None:
        """The first populations. All islands have `fastest` and `initial`."""
        config = self._config
        known = self._problem.starts(initial)
        parts = [(known, self._problem.measure_latency(known))]
        for problem in self._problems:
            drawn = self._space.sample(config.islands * config.population, self._rng)
            if self._guide is not None:
                drawn = self._guide.settle(drawn, np.full(len(drawn), problem.budget_ms))
            parts.append(problem.repair(drawn, self._rng))
        rows, latency_ms = (np.concatenate(column) for column in zip(*parts, strict=True))
        places = np.tile(np.repeat(np.arange(config.islands), config.population), len(self._problems))
        owners = np.concatenate([np.full(len(known), -1), places])
        kept = self._archive.claim(rows) & (latency_ms <= self._budgets.max())
        found = Population.evaluate(self._problem, self._archive, rows[kept], latency_ms[kept])
        owners = owners[kept]
        for number in range(config.islands):
            own = (owners < 0) | (owners == number)
            within = [own & (found.latency_ms <= budget) for budget in self._budgets]
            self.populations.append([self._select([found[fits]]) for fits in within])

    def merge(self) -> None:
        """One island of all, on which alike networks are no longer held apart."""
        self._select = Selection(self._space, self._config.population, most_alike=1.0)
        if len(self.populations) > 1:
            self.populations = [[self.of_budget(number) for number in range(len(self._budgets))]]

    def of_budget(self, number: int) -> Population:
        """The best of a budget on all islands."""
        return self._select([island[number] for island in self.populations])

    def advance(self) -> None:
        """One generation of all budgets and islands."""
        rows, latency_ms, owners = self._children()
        fresh = self._archive.claim(rows)
        if not fresh.any():
            return
        found = Population.evaluate(self._problem, self._archive, rows[fresh], latency_ms[fresh])
        owners = owners[fresh]
        for number, island in enumerate(self.populations):
            for place, budget in enumerate(self._budgets):
                full = len(island[place]) >= self._config.population
                worst = island[place].accuracy[-1] if full else -np.inf
                joins = (owners == number) & (found.latency_ms <= budget) & (found.accuracy >= worst)
                if joins.any():
                    island[place] = self._select([island[place], found[joins]])

    def _children(self) -> tuple[Genotypes, Floats, NDArray[np.int64]]:
        """A generation's children within their budgets `[N, G]`, their latencies, and the islands that they are of."""
        config, islands, budgets = self._config, len(self.populations), self._budgets
        share = max(2, config.children // islands)
        parents = self._parents(share, config.pressure)
        limits = np.tile(np.repeat(budgets, share), islands)
        children = self._breed(parents, self._parents(share, 1.0))
        owners = np.repeat(np.arange(islands), share * len(budgets))
        if self._guide is not None:
            count = max(1, share // config.guided_children)
            prices = np.repeat(np.concatenate([_prices(island, budgets) for island in self.populations]), count)
            start = self._parents(count, 1.0)
            repeated, guided = self._guide.children(start, prices, config.guided_children, self._rng)
            parents, children = np.concatenate([parents, repeated]), np.concatenate([children, guided])
            more = count * config.guided_children
            limits = np.concatenate([limits, np.tile(np.repeat(budgets, more), islands)])
            owners = np.concatenate([owners, np.repeat(np.arange(islands), more * len(budgets))])
        return *self._return_genes(children, parents, limits), owners

    def _parents(self, count: int, pressure: float) -> Genotypes:
        """`count` of each population, `[N, G]`; the higher the pressure, the more of the best."""
        populations = [population for island in self.populations for population in island]
        draws = self._rng.random((len(populations), count)) ** pressure
        return np.concatenate(
            [population.genotypes[(draw * len(population)).astype(np.int64)]
             for population, draw in zip(populations, draws, strict=True)]
        )  # fmt: skip

    def _breed(self, parents: Genotypes, others: Genotypes) -> Genotypes:
        """A child of each of `parents` `[N, G]`: by mutation, or by crossover of whole gene groups with `others`."""
        space, config, rng = self._space, self._config, self._rng
        mutates = rng.random(len(parents)) < config.mutations
        children = np.empty_like(parents)
        children[mutates] = space.mutate(parents[mutates], config.mutation_probability, rng)
        chosen = (rng.random((int((~mutates).sum()), len(space.groups))) < 0.5)[:, space.groups.of_gene]
        children[~mutates] = space.canonical(np.where(chosen, others[~mutates], parents[~mutates]))
        return children

    def _return_genes(self, children: Genotypes, parents: Genotypes, budgets: Floats) -> tuple[Genotypes, Floats]:
        """Children within their budgets, and their latencies: gene groups go back to the parent's until they are."""
        space, problem = self._space, self._problem
        children, latency_ms = children.copy(), problem.measure_latency(children)
        over = np.flatnonzero(latency_ms > budgets)
        rank = self._rng.random((len(over), len(space.groups)))
        for returned in (0.35, 0.5, 0.65, 0.8, 0.95, 1.0):
            if not len(over):
                break
            # At 1 all is the parent's, which is within the budget.
            mixed = np.where((rank < returned)[:, space.groups.of_gene], parents[over], children[over])
            children[over] = space.canonical(mixed)
            latency_ms[over] = problem.measure_latency(children[over])
            still = latency_ms[over] > budgets[over]
            over, rank = over[still], rank[still]
        return children, latency_ms


def _prices(island: Sequence[Population], budgets: Floats) -> Floats:
    """What a millisecond is worth at each budget, in accuracy: the slope between neighbouring budgets' best."""
    best = np.array([population.accuracy[0] for population in island])
    if len(budgets) > 1 and np.all(np.diff(budgets) > 0):
        slope = np.gradient(best, budgets)
        typical = max(float((best[-1] - best[0]) / (budgets[-1] - budgets[0])), 1e-9)
    else:
        spread = np.array([population.accuracy[0] - population.accuracy[-1] for population in island])
        slope = typical = np.maximum(spread, 1e-9) / np.maximum(0.05 * budgets, 1e-9)
    return np.asarray(np.clip(slope, typical / 4, typical * 4))
