"""What every searcher promises."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.errors import ArchError, ConfigError, HwnasError, InfeasibleBudgetError
from hwnas.search.config import (
    SEARCHERS,
    BananasConfig,
    EvolutionConfig,
    IslandsConfig,
    LocalSearchConfig,
    NsgaConfig,
    RandomSearchConfig,
    RegularizedConfig,
    SearchConfig,
)
from hwnas.search.methods.bananas import Estimate
from hwnas.search.problem import Problem
from hwnas.search.result import SearchResult
from hwnas.search.searchers import search
from hwnas.spaces import OfaMbv3Config, make_space

CONFIG = SearchConfig(
    islands=IslandsConfig(generations=40, islands=2),
    evolution=EvolutionConfig(generations=40),
    regularized=RegularizedConfig(evaluations=1500),
    nsga2=NsgaConfig(generations=40),
    local=LocalSearchConfig(starts=3, pairs=50),
    bananas=BananasConfig(evaluations=80),
    random=RandomSearchConfig(samples=4000),
)


@pytest.fixture(params=SEARCHERS)
def config(request: pytest.FixtureRequest) -> SearchConfig:
    return replace(CONFIG, method=request.param)


def run(bench: Any, budget_ms: float, config: SearchConfig, seed: int = 0, **changes: Any) -> SearchResult:
    of_problem = {key: changes.pop(key) for key in ("accuracy", "latency_ms", "fastest") if key in changes}

    def surrogate(rows: np.ndarray, found: np.ndarray, rng: np.random.Generator) -> Estimate:
        """Ridge regressions of resampled rows: quick, where the command line takes an ensemble of networks."""
        features = bench.space.features(rows)
        drawn = [rng.integers(0, len(rows), len(rows)) for _ in range(5)]
        weights = [
            np.linalg.solve(features[d].T @ features[d] + np.eye(features.shape[1]), features[d].T @ found[d])
            for d in drawn
        ]

        def estimate(genotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            each = np.stack([bench.space.features(genotypes) @ one for one in weights])
            return each.mean(axis=0), each.std(axis=0)

        return estimate

    problem = bench.problem(budget_ms, **of_problem)
    return search(problem, config, np.random.default_rng(seed), surrogate=surrogate, **changes)


@pytest.mark.parametrize("quantile", [0.001, 0.25, 0.9])
def test_everything_evaluated_is_distinct_canonical_and_within_the_budget(
    bench: Any, config: SearchConfig, quantile: float
) -> None:
    budget = bench.quantile_ms(quantile)
    result = run(bench, budget, config)
    archive = result.archive_genotypes
    assert np.array_equal(bench.space.canonical(bench.space.check(archive)), archive)
    assert len(bench.space.unique(archive)) == len(archive) <= result.evaluations
    assert result.archive_latency_ms.max() <= budget
    assert np.allclose(bench.latency_ms(archive), result.archive_latency_ms)
    assert np.allclose(bench.accuracy(archive), result.archive_accuracy)


def test_the_result_is_the_best_of_the_archive(bench: Any, config: SearchConfig) -> None:
    result = run(bench, bench.quantile_ms(0.3), config)
    assert result.accuracy == result.archive_accuracy.max()
    assert result.accuracy == pytest.approx(bench.accuracy(result.genotype[None])[0])
    assert result.latency_ms == pytest.approx(bench.latency_ms(result.genotype[None])[0])
    best = result.best(5)
    assert len(best) == 5
    assert np.array_equal(result.archive_genotypes[best[0]], result.genotype)
    assert np.all(np.diff(result.archive_accuracy[best]) <= 0)


def test_history_rises_to_the_result(bench: Any, config: SearchConfig) -> None:
    history = (result := run(bench, bench.quantile_ms(0.3), config)).history
    assert np.all(np.diff(history.accuracy) >= -1e-9)
    assert history.accuracy[-1] == pytest.approx(result.accuracy)
    assert history.latency_ms[-1] == pytest.approx(result.latency_ms)
    assert np.all(np.diff(history.evaluations) >= 0)
    assert history.evaluations[-1] == result.evaluations
    assert np.all(np.diff(history.elapsed_s) >= 0)
    assert set(json.loads(json.dumps(history.to_dict()))) == {"evaluations", "accuracy", "latency_ms", "elapsed_s"}


def test_same_seed_same_result(bench: Any, config: SearchConfig) -> None:
    budget = bench.quantile_ms(0.3)
    first, again, other = (run(bench, budget, config, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.archive_genotypes, again.archive_genotypes)
    assert np.array_equal(first.genotype, again.genotype)
    assert not np.array_equal(first.archive_genotypes, other.archive_genotypes)


def test_no_genotype_is_evaluated_twice_in_the_main_search(tiny: Any, config: SearchConfig) -> None:
    asked: list[bytes] = []

    def accuracy(genotypes: np.ndarray) -> np.ndarray:
        asked.extend(row.tobytes() for row in genotypes)
        found: np.ndarray = tiny.accuracy(genotypes)
        return found

    bare = replace(
        config,
        evolution=replace(config.evolution, local_search=False),
        islands=replace(config.islands, local_starts=0),
    )
    result = run(tiny, tiny.quantile_ms(0.5), bare, accuracy=accuracy)
    assert len(asked) == len(set(asked)) == result.evaluations


def test_a_budget_that_only_the_fastest_meets_gives_the_fastest(bench: Any, config: SearchConfig) -> None:
    least = float(bench.latency_ms(bench.fastest[None])[0])
    result = run(bench, least, config)
    assert result.latency_ms == least
    assert np.array_equal(result.genotype, bench.fastest)


def test_an_infeasible_budget_is_refused_at_once_with_what_is_attainable(bench: Any, config: SearchConfig) -> None:
    least = float(bench.latency_ms(bench.fastest[None])[0])

    def never(genotypes: np.ndarray) -> np.ndarray:
        raise AssertionError("no accuracy is needed to refuse")

    with pytest.raises(InfeasibleBudgetError, match=re.escape(f"{least:.4g} ms")) as caught:
        run(bench, 0.99 * least, config, accuracy=never)
    arch = json.loads(str(caught.value).split("its arch: ")[1])
    assert np.array_equal(bench.space.genotype(arch), bench.fastest)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", [0.0, -3.0, float("nan"), float("inf")])
def test_budgets_that_are_no_positive_number_are_refused(tiny: Any, config: SearchConfig, budget: float) -> None:
    with pytest.raises(ConfigError, match="positive milliseconds"):
        run(tiny, budget, config)


@pytest.mark.parametrize("name", ["accuracy", "latency_ms"])
def test_a_nan_names_the_function_that_gave_it(tiny: Any, config: SearchConfig, name: str) -> None:
    def broken(genotypes: np.ndarray) -> np.ndarray:
        values = getattr(tiny, name)(genotypes)
        return np.where(genotypes[:, -1] == 1, np.nan, values)

    with pytest.raises(HwnasError, match=rf"^{name} is not a number for \d+ of \d+ networks") as caught:
        run(tiny, tiny.quantile_ms(0.9), config, **{name: broken})  # type: ignore[arg-type]
    arch = json.loads(str(caught.value).split("the first: ")[1])
    assert arch["r"] == 24


def test_a_function_of_the_wrong_shape_is_refused(tiny: Any, config: SearchConfig) -> None:
    with pytest.raises(ValueError, match="accuracy: expected one value"):
        run(tiny, tiny.quantile_ms(0.9), config, accuracy=lambda genotypes: np.zeros((len(genotypes), 1)))


def test_a_fastest_genotype_of_another_space_is_refused(tiny: Any, full: Any, config: SearchConfig) -> None:
    with pytest.raises(ArchError):
        run(tiny, 10.0, config, fastest=full.fastest)


def test_progress_rises_to_one(tiny: Any, config: SearchConfig) -> None:
    seen: list[float] = []

    def progress(share: float, status: str) -> None:
        assert status
        seen.append(share)

    run(tiny, tiny.quantile_ms(0.5), config, progress=progress)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def test_what_is_known_already_is_kept(full: Any, config: SearchConfig) -> None:
    budget = full.quantile_ms(0.3)
    strong = run(full, budget, replace(CONFIG, method="evolution"))
    short = replace(
        config,
        evolution=EvolutionConfig(generations=0, local_search=False),
        islands=IslandsConfig(generations=0, local_starts=0),
        regularized=RegularizedConfig(evaluations=1),
        nsga2=NsgaConfig(generations=0),
        local=LocalSearchConfig(starts=1, pairs=0),
        bananas=BananasConfig(initial=10, evaluations=10),
        random=RandomSearchConfig(1),
    )
    assert run(full, budget, short, seed=9).accuracy < strong.accuracy
    seeded = run(full, budget, short, seed=9, initial=strong.genotype[None])
    assert seeded.accuracy >= strong.accuracy - 1e-12


def test_equal_accuracy_goes_to_the_faster_network(tiny: Any, config: SearchConfig) -> None:
    result = run(tiny, tiny.quantile_ms(0.9), config, accuracy=lambda genotypes: np.full(len(genotypes), 0.5))
    assert np.array_equal(result.genotype, tiny.fastest)


def test_an_interrupt_goes_through(tiny: Any, config: SearchConfig) -> None:
    def interrupted(share: float, status: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny, tiny.quantile_ms(0.5), config, progress=interrupted)


def test_a_space_of_one_network_gives_that_network(tiny: Any, config: SearchConfig) -> None:
    one = OfaMbv3Config(
        resolution=(16,), widths=(8, 8, 16, 24, 32), strides=(1, 2), activations=("relu", "relu"), se=(False, True),
        kernel_sizes=(3,), expand_ratios=(2,), depths=(1,), classes=4,
    )  # fmt: skip
    space = make_space(one)
    problem = Problem(
        space,
        lambda rows: np.full(len(rows), 0.5),
        lambda rows: np.full(len(rows), 1.0),
        2.0,
        space.extreme(largest=True),
    )
    result = search(
        problem,
        config,
        np.random.default_rng(0),
        surrogate=lambda *_: lambda rows: (np.zeros(len(rows)), np.ones(len(rows))),
    )
    assert (result.evaluations, result.accuracy, result.latency_ms) == (1, 0.5, 1.0)


def test_among_equals_the_fastest_is_the_answer(tiny: Any, config: SearchConfig) -> None:
    fastest_ms = float(tiny.latency_ms(tiny.everything).min())
    for share in (0.1, 0.9):
        budget_ms = float(np.quantile(tiny.latency_ms(tiny.everything), share))
        found = run(tiny, budget_ms, config, accuracy=lambda rows: np.full(len(rows), 1.0))
        assert found.latency_ms == pytest.approx(fastest_ms, rel=1e-12)
        assert found.accuracy == 1.0
