"""How a search is asked for. Plain numbers: the command line reads this without numpy or scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hwnas.errors import ConfigError, choices
from hwnas.search.quantities import parse_quantity

__all__ = [
    "SEARCHERS",
    "BananasConfig",
    "EvolutionConfig",
    "IslandsConfig",
    "LocalSearchConfig",
    "NsgaConfig",
    "RandomSearchConfig",
    "RegularizedConfig",
    "SearchConfig",
]

SEARCHERS = ("islands", "evolution", "regularized", "nsga2", "local", "bananas", "random")


@dataclass(frozen=True)
class EvolutionConfig:
    """Evolutionary search as published for once-for-all (Cai et al., ICLR 2020); the defaults are its figures.

    `population`: children a generation, and the first random population. `parents`: the share of the population that
    survives and breeds, the best first. `mutations`: the share of children made by mutation, the rest by crossover.
    `mutation_probability`: of each gene group. `local_search`: whether the best is improved at the end until none of
    its neighbours is better (see `hwnas.search.methods.local`); `local_pairs`: how many pairs of changes
    a round of it tries.
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
class IslandsConfig:
    """Evolution of all budgets at once (see `hwnas.search.methods.islands`).

    `population`: of each budget on each island; before the islands are merged, networks of one resolution and depths
    take a share of `most_alike`, no more (see `hwnas.search.selection`). `children`: a generation's for each budget,
    over all islands, and as many guided ones where the predictor has slopes, `guided_children` of each parent. `apart`:
    the share of the generations before the islands are merged. `pressure`: 1 draws parents evenly, more favours the
    best. `local_starts` of each budget's best are climbed from at the end, with `local_pairs` exchanges a round (see
    `hwnas.search.methods.local`).
    """

    generations: int = 200
    islands: int = 3
    population: int = 50
    most_alike: float = 0.25
    children: int = 72
    guided_children: int = 4
    apart: float = 0.6
    mutations: float = 0.3
    mutation_probability: float = 0.1
    pressure: float = 1.5
    local_starts: int = 1
    local_pairs: int = 500

    def __post_init__(self) -> None:
        for key, least in (
            ("generations", 0), ("islands", 1), ("population", 2), ("children", 2), ("guided_children", 1),
            ("local_starts", 0), ("local_pairs", 0),
        ):  # fmt: skip
            if getattr(self, key) < least:
                raise ConfigError(f"search.islands.{key}: expected {least} or more, got {getattr(self, key)}")
        for key in ("apart", "mutations"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"search.islands.{key}: expected a share from 0 to 1, got {getattr(self, key)}")
        if not 0 < self.mutation_probability <= 1:
            raise ConfigError(
                "search.islands.mutation_probability: expected a probability above 0, up to 1,"
                f" got {self.mutation_probability}"
            )
        if not 0 < self.most_alike <= 1:
            raise ConfigError(f"search.islands.most_alike: expected a share above 0, up to 1, got {self.most_alike}")
        if self.pressure < 1:
            raise ConfigError(f"search.islands.pressure: expected 1 (none) or more, got {self.pressure}")


@dataclass(frozen=True)
class NsgaConfig:
    """NSGA-II: `population` children a generation, `mutation_probability` of each group."""

    population: int = 200
    generations: int = 300
    mutation_probability: float = 0.04

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"search.nsga2.population: expected 2 or more to cross over, got {self.population}")
        if self.generations < 0:
            raise ConfigError(f"search.nsga2.generations: expected 0 or more, got {self.generations}")
        if not 0 < self.mutation_probability <= 1:
            raise ConfigError(
                f"search.nsga2.mutation_probability: expected a probability above 0, up to 1,"
                f" got {self.mutation_probability}"
            )


@dataclass(frozen=True)
class RandomSearchConfig:
    """Random search, the baseline: `samples` random networks, of which those within the budget are evaluated."""

    samples: int = 50_000

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ConfigError(f"search.random.samples: expected 1 or more, got {self.samples}")


@dataclass(frozen=True)
class RegularizedConfig:
    """Regularised evolution (Real et al., AAAI 2019); see `hwnas.search.methods.regularized`.

    Of `population` networks, `tournament` random ones compete for each child, which one mutation makes; the oldest
    dies. `children` are made at a time, as if by so many workers. Ends after `evaluations`.
    """

    population: int = 100
    tournament: int = 25
    children: int = 10
    evaluations: int = 10_000

    def __post_init__(self) -> None:
        if self.population < 2:
            raise ConfigError(f"search.regularized.population: expected 2 or more to compete, got {self.population}")
        if not 1 <= self.tournament <= self.population:
            raise ConfigError(
                f"search.regularized.tournament: expected 1 to the population ({self.population}), got"
                f" {self.tournament}"
            )
        if not 1 <= self.children <= self.population:
            raise ConfigError(
                f"search.regularized.children: expected 1 to the population ({self.population}), got {self.children}"
            )
        if self.evaluations < 1:
            raise ConfigError(f"search.regularized.evaluations: expected 1 or more, got {self.evaluations}")


@dataclass(frozen=True)
class LocalSearchConfig:
    """Local search (see `hwnas.search.methods.local`) from `starts` random networks, one after another.

    `pairs`: how many exchanges of two gene groups a round tries where no single change helps; 0 for none.
    """

    starts: int = 20
    pairs: int = 300

    def __post_init__(self) -> None:
        if self.starts < 1:
            raise ConfigError(f"search.local.starts: expected 1 or more, got {self.starts}")
        if self.pairs < 0:
            raise ConfigError(f"search.local.pairs: expected 0 (none) or more, got {self.pairs}")


@dataclass(frozen=True)
class BananasConfig:
    """Bayesian optimisation as BANANAS does it (White et al., AAAI 2021); see `hwnas.search.methods.bananas`.

    `initial` random networks, then `batch` at a time up to `evaluations`, chosen by independent Thompson sampling
    among mutations of the best `parents`, `candidates` of them; each has 1 to `mutations` genes groups redrawn.
    """

    initial: int = 20
    batch: int = 20
    evaluations: int = 200
    candidates: int = 500
    parents: int = 10
    mutations: int = 3

    def __post_init__(self) -> None:
        for key, least in (("initial", 10), ("batch", 1), ("candidates", 1), ("parents", 1), ("mutations", 1)):
            if getattr(self, key) < least:
                raise ConfigError(f"search.bananas.{key}: expected {least} or more, got {getattr(self, key)}")
        if self.evaluations < self.initial:
            raise ConfigError(
                f"search.bananas.evaluations: expected search.bananas.initial ({self.initial}) or more, got"
                f" {self.evaluations}"
            )


@dataclass(frozen=True)
class SearchConfig:
    """What is searched for on each device.

    `objectives` by name (see `hwnas.search.quantities`): the first is what the network of each budget is the best of,
    all of them make up the front. `constraints`: name to the most (of accuracy: the least) that is allowed, for every
    network; `latency_ms` on the target itself is what `budgets` are for, `latency_ms@DEVICE` is another's. `budgets`:
    latency budgets. Where empty, `budget_quantiles` of the latency of `budget_samples` random networks stand in for
    them, so that one config fits every device. `comparison_networks` random networks whose latency is within
    `comparison_tolerance` (a fraction) of the chosen network's are what the result is compared with. `confidence`: the
    probability with which a network's latency has to be within the budget, for estimates that have a standard
    deviation; 0.5 compares the mean. `upper_bound` asks for the proof of how much better any network could be, where
    accuracy and latency add up (`predictor.method=ridge`, a table without slowdown): see `hwnas.search.methods.exact`,
    which also adds its network to the search. `evaluate_top`: so many of each budget's best networks are measured with
    the supernet's weights on held-out images, and the best of these is chosen; 0 for none.
    """

    method: str = "islands"
    objectives: tuple[str, ...] = ("accuracy", "latency_ms")
    constraints: dict[str, float] = field(default_factory=dict)
    budgets: tuple[float, ...] = ()
    budget_quantiles: tuple[float, ...] = (0.25, 0.75)
    budget_samples: int = 10_000
    comparison_networks: int = 10
    comparison_tolerance: float = 0.05
    confidence: float = 0.5
    upper_bound: bool = False
    evaluate_top: int = 0
    islands: IslandsConfig = field(default_factory=IslandsConfig)
    evolution: EvolutionConfig = field(default_factory=EvolutionConfig)
    regularized: RegularizedConfig = field(default_factory=RegularizedConfig)
    nsga2: NsgaConfig = field(default_factory=NsgaConfig)
    local: LocalSearchConfig = field(default_factory=LocalSearchConfig)
    bananas: BananasConfig = field(default_factory=BananasConfig)
    random: RandomSearchConfig = field(default_factory=RandomSearchConfig)

    def __post_init__(self) -> None:
        if self.method not in SEARCHERS:
            raise ConfigError(f"search.method: {self.method!r} unknown; {choices(self.method, SEARCHERS)}")
        self._check_quantities()
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
        if self.evaluate_top < 0:
            raise ConfigError(f"search.evaluate_top: expected 0 (none) or more, got {self.evaluate_top}")

    def _check_quantities(self) -> None:
        if not self.objectives:
            raise ConfigError("search.objectives: expected one or more, such as [accuracy,latency_ms]")
        for text in self.objectives:
            parse_quantity("search.objectives", text)
            if self.objectives.count(text) > 1:
                raise ConfigError(f"search.objectives: {text} stands there twice")
        for text, value in self.constraints.items():
            quantity, device = parse_quantity("search.constraints", text)
            if quantity.name == "latency_ms" and device is None:
                raise ConfigError(
                    "search.constraints: latency_ms on the target itself is a budget: give search.budgets=[…], or"
                    " latency_ms@DEVICE for another device"
                )
            largest = 1.0 if quantity.name == "accuracy" else math.inf
            if not (math.isfinite(value) and 0 < value <= largest):
                expected = "a fraction above 0" if quantity.name == "accuracy" else f"positive {quantity.unit}"
                raise ConfigError(f"search.constraints: {text}: expected {expected}, got {value}")
