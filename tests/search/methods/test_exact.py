"""Exact search: against enumeration, and its bound."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.search.methods.exact import additive_weights, search_exact
from hwnas.spaces import make_space
from tests.narrow import present


def additive(space: Any, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Random weights by gene and, in the order of `Space.features`, in one row."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=int(count)) for count in space.cardinalities]
    return weights, np.concatenate(weights)


def factors(bench: Any) -> list[Any]:
    padded = np.append(bench.values_ms, 0.0)
    return [(slot.genes, padded[slot.operator_ids]) for slot in bench.space.slots]


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_enumeration(tiny: Any, seed: int) -> None:
    weights, row = additive(tiny.space, seed)
    accuracy, latency = 0.5 + tiny.space.features(tiny.everything) @ row, tiny.latency_ms(tiny.everything)
    # A little more than a network needs: one that needs all of it may be lost to rounding up.
    budgets = [1.01 * tiny.quantile_ms(quantile) for quantile in (0.01, 0.2, 0.5, 0.99)]
    for budget, found in zip(budgets, search_exact(tiny.space, weights, 0.5, factors(tiny), budgets), strict=True):
        best = accuracy[latency <= budget].max()
        assert found.accuracy - 1e-9 <= best <= found.upper_bound + 1e-9
        assert found.genotype is not None
        assert tiny.latency_ms(found.genotype[None])[0] <= budget
        assert 0.5 + (tiny.space.features(found.genotype[None]) @ row)[0] == pytest.approx(found.accuracy)
        finer = search_exact(tiny.space, weights, 0.5, factors(tiny), [budget], steps=20_000)[0]
        assert finer.accuracy == pytest.approx(best, abs=1e-9)


def test_no_random_network_is_above_the_bound(full: Any) -> None:
    weights, row = additive(full.space, 0)
    budget = full.quantile_ms(0.3)
    (found,) = search_exact(full.space, weights, 0.0, factors(full), [budget], steps=400)
    rows = full.space.sample(20_000, np.random.default_rng(0))
    accuracy = (full.space.features(rows) @ row)[full.latency_ms(rows) <= budget]
    assert accuracy.max() < found.accuracy <= found.upper_bound
    assert full.latency_ms(present(found.genotype)[None])[0] <= budget


def test_a_budget_below_the_fastest_has_no_network(tiny: Any) -> None:
    weights, _ = additive(tiny.space, 0)
    least = float(tiny.latency_ms(tiny.fastest[None])[0])
    (found,) = search_exact(tiny.space, weights, 0.0, factors(tiny), [0.9 * least])
    assert found.genotype is None


def test_too_many_shared_settings_are_refused(tiny: Any) -> None:
    stages = 8
    config = replace(
        tiny.space.settings, strides=(1,) * (stages + 1), widths=(8,) * (stages + 4), se=(False,) * (stages + 1),
        activations=("relu",) * (stages + 1), depths=(1, 2, 3, 4),
    )  # fmt: skip
    space = make_space(config)
    weights, _ = additive(space, 0)
    with pytest.raises(ConfigError, match=r"choose search\.method=islands"):
        search_exact(space, weights, 0.0, [], [1.0])


def test_weights_of_additive_accuracies_are_found_and_others_are_not(tiny: Any) -> None:
    _, row = additive(tiny.space, 0)
    found = additive_weights(tiny.space, lambda rows: 0.5 + tiny.space.features(rows) @ row, np.random.default_rng(0))
    assert found is not None
    weights, intercept = found
    expected = 0.5 + tiny.space.features(tiny.everything) @ row
    assert intercept + tiny.space.features(tiny.everything) @ np.concatenate(weights) == pytest.approx(expected)
    assert additive_weights(tiny.space, tiny.accuracy, np.random.default_rng(0)) is None
