"""How a search is asked for. Plain numbers: the command line reads this without numpy or scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hwnas.errors import ConfigError, choices

__all__ = ["SEARCHERS", "EvolutionConfig", "RandomSearchConfig", "SearchConfig"]

SEARCHERS = ("evolution", "random")


@dataclass(frozen=True)
class EvolutionConfig:
    """Evolutionary search as published for once-for-all (Cai et al., ICLR 2020); the defaults are its figures.

    `population`: children a generation, and the first random population. `parents`: the share of the population that
    survives and breeds, the best first. `mutations`: the share of children made by mutation, the rest by crossover.
    `mutation_probability`: of each gene group. `local_search`: whether the best is improved at the end until none of
    its neighbours is better (see `hwnas.search.local`); `local_pairs`: how many pairs of changes a round of it tries.
    """

    population: int = 100
    generations: int = 500
    parents: float = 0.25
    mutations: float = 0.5
    mutation_probability: float = 0.1
    local_search: bool = True
    local_pairs: int = 1000

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"search.evolution.population: expected 2 or more to cross over, got {self.population}")
        if self.generations < 0:
            raise ConfigError(f"search.evolution.generations: expected 0 or more, got {self.generations}")
        if not 0 < self.parents <= 1:
            raise ConfigError(f"search.evolution.parents: expected a share above 0, up to 1, got {self.parents}")
        if not 0 <= self.mutations <= 1:
            raise ConfigError(f"search.evolution.mutations: expected a share from 0 to 1, got {self.mutations}")
        if not 0 < self.mutation_probability <= 1:
            raise ConfigError(
                "search.evolution.mutation_probability: expected a probability above 0, up to 1,"
                f" got {self.mutation_probability}"
            )
        if self.local_pairs < 0:
            raise ConfigError(f"search.evolution.local_pairs: expected 0 (none) or more, got {self.local_pairs}")

    @property
    def parent_count(self) -> int:
        """How many survive a generation, at least two where the population has them."""
        return max(2, round(self.parents * self.population))


@dataclass(frozen=True)
class RandomSearchConfig:
    """Random search, the baseline: `samples` random networks, of which those within the budget are evaluated."""

    samples: int = 50_000

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"search.random.samples: expected 1 or more, got {self.samples}")


@dataclass(frozen=True)
class SearchConfig:
    """What is searched for on each device.

    `budgets`: latency budgets. Where empty, `budget_quantiles` of the latency of `budget_samples` random networks
    stand in for them, so that one config fits every device. `comparison_networks` random networks whose latency is
    within `comparison_tolerance` (a fraction) of the chosen network's are what the result is compared with.
    `confidence`: the probability with which a network's latency has to be within the budget, for estimates that have
    a standard deviation; 0.5 compares the mean.
    """

    method: str = "evolution"
    budgets: tuple[float, ...] = ()
    budget_quantiles: tuple[float, ...] = (0.25, 0.75)
    budget_samples: int = 10_000
    comparison_networks: int = 10
    comparison_tolerance: float = 0.05
    confidence: float = 0.5
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    random: RandomSearchConfig = field(default_factory=RandomSearchConfig)

    def __post_init__(self) -> None:
        if self.method not in SEARCHERS:
            raise ConfigError(f"search.method: {self.method!r} unknown; {choices(self.method, SEARCHERS)}")
        wrong = [budget for budget in self.budgets if not (math.isfinite(budget) and budget > 0)]
        if wrong:
            raise ConfigError(f"search.budgets: expected positive milliseconds, got {wrong[0]}")
        outside = [quantile for quantile in self.budget_quantiles if not 0 < quantile < 1]
        if outside:
            raise ConfigError(f"search.budget_quantiles: expected quantiles between 0 and 1, got {outside[0]}")
        if not self.budgets and not self.budget_quantiles:
            raise ConfigError("search: no budget; give search.budgets=[…] or search.budget_quantiles=[…]")
        if self.budget_samples < 10:
            raise ConfigError(f"search.budget_samples: expected 10 or more, got {self.budget_samples}")
        if self.comparison_networks < 0:
            raise ConfigError(f"search.comparison_networks: expected 0 or more, got {self.comparison_networks}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"search.confidence: expected a probability between 0 and 1, got {self.confidence}")
        if not 0 < self.comparison_tolerance < 1:
            raise ConfigError(
                f"search.comparison_tolerance: expected a fraction between 0 and 1, got {self.comparison_tolerance}"
            )
