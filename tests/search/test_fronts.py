"""Many budgets and whole fronts in one search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from hwnas.search.config import IslandsConfig, NsgaConfig, SearchConfig
from hwnas.search.methods.guided import network_slopes
from hwnas.search.methods.nsga2 import crowding, nsga2, ranks
from hwnas.search.pareto import hypervolume
from hwnas.search.searchers import search_budgets

SHORT = SearchConfig(islands=IslandsConfig(generations=60, islands=2), nsga2=NsgaConfig(generations=60))


@pytest.mark.parametrize("method", ["islands", "nsga2", "evolution", "random"])
def test_wider_budgets_are_never_worse(full: Any, method: str) -> None:
    budgets = [full.quantile_ms(quantile) for quantile in (0.02, 0.3, 0.7)]
    config = SearchConfig(
        method=method, islands=SHORT.islands, nsga2=SHORT.nsga2,
        evolution=type(SHORT.evolution)(generations=40), random=type(SHORT.random)(2000),
    )  # fmt: skip
    results, evaluations, _ = search_budgets(
        [full.problem(budget) for budget in budgets], config, np.random.default_rng(0)
    )
    accuracy = [result.accuracy for result in results]
    assert accuracy == sorted(accuracy)
    assert all(result.latency_ms <= budget for result, budget in zip(results, budgets, strict=True))
    assert evaluations >= max(result.evaluations for result in results)


def test_many_budgets_cost_less_than_each_alone_and_are_no_worse(full: Any) -> None:
    budgets = [full.quantile_ms(quantile) for quantile in (0.1, 0.3, 0.5)]
    together, evaluations, _ = search_budgets(
        [full.problem(budget) for budget in budgets], SHORT, np.random.default_rng(0)
    )
    for result, budget in zip(together, budgets, strict=True):
        (alone,), count, _ = search_budgets([full.problem(budget)], SHORT, np.random.default_rng(0))
        assert result.accuracy > alone.accuracy - 0.005
        assert evaluations < 4 * count


def test_nsga2_finds_the_front_of_a_space_that_can_be_enumerated(tiny: Any) -> None:
    accuracy, latency = tiny.accuracy(tiny.everything), tiny.latency_ms(tiny.everything)
    (result,) = nsga2(
        [tiny.problem(float(latency.max()))], NsgaConfig(population=60),
        np.random.default_rng(0),
    )  # fmt: skip
    reference = (float(accuracy.min()), float(latency.max()) * 1.1)
    found = hypervolume(result.archive_accuracy, result.archive_latency_ms, *reference)
    assert found == pytest.approx(hypervolume(accuracy, latency, *reference), rel=1e-3)


def test_ranks_and_crowding_of_known_points() -> None:
    values = np.array([[-3.0, 3.0], [-2.0, 2.0], [-1.0, 1.0], [-1.0, 2.5], [-0.5, 3.0]])
    rank = ranks(values, 5)
    assert rank.tolist() == [0, 0, 0, 1, 2]
    assert ranks(values, 1).tolist() == [0, 0, 0, 1, 1]
    assert crowding(values, rank).tolist() == [np.inf, 2.0, np.inf, np.inf, np.inf]


def test_slopes_are_the_derivatives_of_the_network(tiny: Any) -> None:
    space, rng = tiny.space, np.random.default_rng(0)
    count = int(space.cardinalities.sum())
    conditions = [((gene, choice),) for gene, n in enumerate(space.cardinalities) for choice in range(int(n))]
    shapes = [(6, count), (5, 6), (1, 5)]
    layers = [(rng.normal(size=s).astype(np.float32), rng.normal(size=s[0]).astype(np.float32)) for s in shapes]

    def network(features: np.ndarray) -> np.ndarray:
        units = features
        for weight, bias in layers[:-1]:
            units = np.maximum(units @ weight.T + bias, 0)
        found: np.ndarray = (units @ layers[-1][0].T + layers[-1][1])[:, 0]
        return found

    rows = space.sample(20, rng)
    found = network_slopes(space, lambda g: space.features(g).astype(np.float32), conditions, layers)(rows)
    for features, of_row in zip(space.features(rows).astype(np.float64), found, strict=True):
        expected = approx_fprime(features, lambda one: float(network(one[None])[0]), 1e-6)
        np.testing.assert_allclose([of_row[gene, choice] for ((gene, choice),) in conditions], expected, atol=1e-3)


def test_slopes_help_where_there_are_some(full: Any) -> None:
    def slopes(rows: np.ndarray) -> np.ndarray:
        linear, mixing = full.weights
        features = full.space.features(rows)
        by_feature = 0.01 * linear + 0.02 * (1 - np.tanh(features @ mixing) ** 2) @ mixing.T
        found = np.zeros((len(rows), len(full.space.genes), int(full.space.cardinalities.max())), dtype=np.float32)
        found[:, np.arange(found.shape[2]) < full.space.cardinalities[:, None]] = by_feature
        return found

    budget = full.quantile_ms(0.3)
    config = SearchConfig(islands=IslandsConfig(generations=20, islands=2, local_starts=0))
    found = []
    for given in (None, slopes):
        (result,), _, _ = search_budgets(
            [full.problem(budget)], config, np.random.default_rng(0),
            slopes=given,
        )  # fmt: skip
        found.append(result.accuracy)
    assert found[1] > found[0]


def test_more_objectives_keep_what_is_best_in_them(full: Any) -> None:
    def shortness(rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = -full.space.active(rows).sum(axis=1).astype(float)
        return found

    config, budget = NsgaConfig(population=60, generations=40), full.quantile_ms(0.5)
    task = ([full.problem(budget)], config)
    (two,) = nsga2(*task, np.random.default_rng(0))
    (three,) = nsga2(*task, np.random.default_rng(0), more=[shortness])
    # Deep networks of low accuracy are on the front now.
    assert shortness(three.archive_genotypes).mean() < shortness(two.archive_genotypes).mean() - 1
