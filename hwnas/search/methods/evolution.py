"""Evolutionary search under a hard latency budget (once-for-all, Cai et al., ICLR 2020, section 3.4).

Shapes: N architectures, G genes, P parents.
"""

from __future__ import annotations

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.config import EvolutionConfig
from hwnas.search.methods.local import improve
from hwnas.search.population import Archive, Population
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes, Space

__all__ = ["evolve"]


def evolve(
    problem: Problem,
    config: EvolutionConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The most accurate network found within the budget; never more than `generations` rounds.

    Each generation keeps the best `config.parent_count` networks ever seen, and makes `config.population` children of
    them by mutation and by crossover. A child over the budget is repaired with genes of `fastest` (`Problem.repair`),
    so every network evaluated meets it. A child met before is not evaluated again, which changes nothing: it is among
    the parents already, or was worse than all of them. `initial` `[N, G]` joins the first population, for instance
    the winner of a tighter budget, which makes the result at least as good as that.

    Ties go to the faster network, then to the one found earlier.

    Raises InfeasibleBudgetError, ConfigError (see `Problem`), and HwnasError where a predictor gives no number.
    """
    archive = Archive()
    recorder = Recorder(archive)

    children = np.concatenate([problem.starts(initial), problem.space.sample(config.population, rng)])
    parents = Population.empty(len(problem.space.genes))
    for generation in range(config.generations + 1):
        children, latency = problem.repair(children, rng)
        fresh = archive.claim(children)
        if fresh.any():
            found = Population.evaluate(problem, archive, children[fresh], latency[fresh])
            parents = Population.joined([parents, found]).ranked()[: config.parent_count]
        recorder.record(parents.score(0))
        progress(generation / max(config.generations, 1), f"accuracy {parents.accuracy[0]:.4f}")
        if generation < config.generations:
            children = _breed(problem.space, parents.genotypes, config, rng)

    if config.local_search:
        recorder.record(improve(problem, archive, parents.genotypes[0], config.local_pairs))
    return recorder.result()


def _breed(space: Space, parents: Genotypes, config: EvolutionConfig, rng: np.random.Generator) -> Genotypes:
    """`config.population` children `[N, G]` of `parents` `[P, G]`: mutations first, then crossovers."""
    mutations = round(config.mutations * config.population)
    chosen = rng.integers(0, len(parents), size=(2, config.population))
    mutated = space.mutate(parents[chosen[0, :mutations]], config.mutation_probability, rng)
    crossed = space.crossover(parents[chosen[0, mutations:]], parents[chosen[1, mutations:]], rng)
    return np.concatenate([mutated, crossed])
