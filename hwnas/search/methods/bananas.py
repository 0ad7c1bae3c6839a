"""Bayesian optimisation with an ensemble of networks (BANANAS; White, Neiswanger and Savani, AAAI 2021).

For accuracies that are dear: those of a few hundred networks are asked for, where evolution asks for ten thousands.

Shapes: N architectures, G genes, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.config import BananasConfig
from hwnas.search.methods.regularized import mutate_groups
from hwnas.search.population import Archive, Population
from hwnas.search.problem import Problem
from hwnas.search.result import Recorder, SearchResult
from hwnas.spaces import Genotypes
from hwnas.spaces.space import Floats

__all__ = ["Estimate", "Surrogate", "bananas"]

Estimate = Callable[[Genotypes], tuple[Floats, Floats]]
"""Mean and standard deviation, `[N]` each, for `[N, G]`."""

Surrogate = Callable[[Genotypes, Floats, np.random.Generator], Estimate]
"""Fits an `Estimate` to `[N, G]` and their accuracies `[N]`."""


def bananas(
    problem: Problem,
    config: BananasConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    surrogate: Surrogate,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The most accurate network found within the budget, after `config.evaluations` of them.

    Each round fits `surrogate` to all that was evaluated, draws one accuracy for each candidate from its normal
    distribution (independent Thompson sampling), and evaluates the best `config.batch`. Candidates are mutations of
    the best networks, repaired to the budget as in `evolve`, and never evaluated before. Ends early where there are
    none left. `initial` `[N, G]` joins the first networks. Ties and errors as in `evolve`.
    """
    archive = Archive()
    recorder = Recorder(archive)
    first = np.concatenate([problem.starts(initial), problem.space.sample(config.initial, rng)])
    progress(0.0, "first networks")
    rows, latency = problem.repair(first, rng)
    fresh = archive.claim(rows)
    found = Population.evaluate(problem, archive, rows[fresh], latency[fresh])
    while True:
        best = found.best
        recorder.record(best)
        missing = config.evaluations - len(found)
        if missing <= 0:
            break
        progress(len(found) / config.evaluations, f"accuracy {best.accuracy:.4f}")
        parents = found.ranked().genotypes[: config.parents]
        drawn, latency = _candidates(problem, archive, parents, config, rng)
        if not len(drawn):
            break
        if len(found) < config.initial or np.ptp(found.accuracy) == 0:
            sampled = rng.random(len(drawn))  # nothing to learn from
        else:
            mean, std = surrogate(found.genotypes, found.accuracy, rng)(drawn)
            sampled = mean + std * rng.standard_normal(len(drawn))
        chosen = np.argsort(-sampled, kind="stable")[: min(config.batch, missing)]
        archive.claim(drawn[chosen])
        batch = Population.evaluate(problem, archive, drawn[chosen], latency[chosen])
        found = Population.joined([found, batch])
    progress(1.0, f"accuracy {best.accuracy:.4f}")
    return recorder.result()


def _candidates(
    problem: Problem, archive: Archive, parents: Genotypes, config: BananasConfig, rng: np.random.Generator
) -> tuple[Genotypes, Floats]:
    """New distinct networks within the budget, `[C, G]`, and their latencies; random ones where mutation finds none."""
    chosen = parents[rng.integers(0, len(parents), size=config.candidates)]
    counts = rng.integers(1, config.mutations + 1, size=config.candidates)
    for rows in (
        mutate_groups(problem.space, chosen, counts, rng),
        problem.space.sample(config.candidates, rng),
    ):
        rows, latency = problem.repair(rows, rng)
        new = ~archive.holds(rows)
        rows, latency = rows[new], latency[new]
        _, places = np.unique(rows, axis=0, return_index=True)
        places = np.sort(places)
        if len(places):
            return rows[places], latency[places]
    return rows, latency
