"""Budgets that fit a device, and random networks near a latency."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError, HwnasError
from hwnas.search.budgets import Budget, resolve_budgets, sample_near_latency
from hwnas.search.config import SearchConfig


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_budgets_in_ms_are_kept_tightest_first(full: Any) -> None:
    budgets = resolve_budgets(full.space, full.latency_ms, SearchConfig(budgets=(30.0, 20, 30.0)), rng())
    assert budgets == (Budget("tight", 20.0, None), Budget("loose", 30.0, None))
    assert [b.name for b in resolve_budgets(full.space, full.latency_ms, SearchConfig(budgets=(9.5,)), rng())] == [
        "9.5ms"
    ]


def test_quantiles_are_of_random_networks(full: Any) -> None:
    budgets = resolve_budgets(full.space, full.latency_ms, SearchConfig(budget_quantiles=(0.75, 0.25)), rng())
    assert [(b.name, b.quantile) for b in budgets] == [("tight", 0.25), ("loose", 0.75)]
    latency = full.latency_ms(full.space.sample(20_000, np.random.default_rng(1)))
    for budget in budgets:
        assert budget.quantile is not None
        assert np.mean(latency <= budget.budget_ms) == pytest.approx(budget.quantile, abs=0.03)
    three = resolve_budgets(full.space, full.latency_ms, SearchConfig(budget_quantiles=(0.1, 0.5, 0.9)), rng())
    assert [b.name for b in three] == ["q10", "q50", "q90"]


def test_equal_quantiles_are_one_budget(full: Any) -> None:
    budgets = resolve_budgets(full.space, lambda rows: np.full(len(rows), 4.0), SearchConfig(), rng())
    assert [b.budget_ms for b in budgets] == [4.0]


@pytest.mark.parametrize("least", [0.123456, 12.3456, 0.0999999, 4.0, 1234.5, 0.000123456])
def test_the_fastest_network_meets_every_quantile(full: Any, least: float) -> None:
    """Of one network, or of equal ones, the quantile rounded down would leave out all."""
    budgets = resolve_budgets(full.space, lambda rows: np.full(len(rows), least), SearchConfig(), rng(), least)
    assert len(budgets) == 1
    assert least <= budgets[0].budget_ms <= 1.011 * least
    assert float(f"{budgets[0].budget_ms:.3g}") == budgets[0].budget_ms
    # With a margin for the estimate's error the fastest takes more than the quantiles of the mean.
    wide = resolve_budgets(full.space, lambda rows: np.full(len(rows), least), SearchConfig(), rng(), 1.3 * least)
    assert 1.3 * least <= wide[0].budget_ms <= 1.32 * least


def test_networks_near_a_latency_are_near_distinct_and_random(full: Any) -> None:
    target = full.quantile_ms(0.25)
    near = sample_near_latency(full.space, full.latency_ms, target, 0.05, 50, rng())
    assert len(near) == len(full.space.unique(near)) == 50
    latency = full.latency_ms(near)
    assert np.all(np.abs(latency - target) <= 0.05 * target)
    assert latency.min() < target < latency.max()
    again = sample_near_latency(full.space, full.latency_ms, target, 0.05, 50, rng())
    assert np.array_equal(near, again)


def test_excluded_networks_are_left_out(tiny: Any) -> None:
    target = float(tiny.latency_ms(tiny.everything[100:101])[0])
    every = sample_near_latency(tiny.space, tiny.latency_ms, target, 0.05, 1000, rng(), most_draws=200_000)
    in_reach = np.abs(tiny.latency_ms(tiny.everything) - target) <= 0.05 * target
    assert len(every) == in_reach.sum()  # fewer than asked for: all that there are
    assert len(every) > 2
    fewer = sample_near_latency(
        tiny.space, tiny.latency_ms, target, 0.05, 1000, rng(), most_draws=200_000,
        excluded=np.concatenate([every[:2], every[:2]]),
    )  # fmt: skip
    assert len(fewer) == len(every) - 2
    assert not {row.tobytes() for row in fewer} & {row.tobytes() for row in every[:2]}


def test_an_unattainable_latency_gives_none(tiny: Any) -> None:
    assert sample_near_latency(tiny.space, tiny.latency_ms, 1e6, 0.05, 10, rng(), most_draws=5000).shape == (
        0,
        len(tiny.space.genes),
    )


@pytest.mark.parametrize(("target", "tolerance"), [(0.0, 0.05), (-1.0, 0.05), (float("nan"), 0.05), (5.0, 0.0)])
def test_targets_that_make_no_sense_are_refused(tiny: Any, target: float, tolerance: float) -> None:
    with pytest.raises(ConfigError, match="positive target"):
        sample_near_latency(tiny.space, tiny.latency_ms, target, tolerance, 10, rng())


def test_latencies_that_are_no_number_are_refused(tiny: Any) -> None:
    def missing(rows: np.ndarray) -> np.ndarray:
        return np.where(rows[:, -1] == 0, np.nan, 1.0)

    with pytest.raises(HwnasError, match="not a number"):
        resolve_budgets(tiny.space, missing, SearchConfig(), rng())
    with pytest.raises(HwnasError, match="not a number"):
        sample_near_latency(tiny.space, missing, 1.0, 0.05, 5, rng())
