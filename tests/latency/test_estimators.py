"""What an estimator need not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import CoverageError
from hwnas.latency.estimate import INTERVAL, INTERVAL_SHARE, LatencyEstimate, LatencyEstimator
from hwnas.latency.fewshot.method import FewShotPredictor, FewShotSession
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.roofline import RooflineEstimator
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows
from hwnas.operators import Operator
from hwnas.spaces import Genotypes, OfaMbv3Config, make_space

SPACE = make_space(OfaMbv3Config(resolution=(160,)))


class _Mine(LatencyEstimator):
    """A user's own: a constant, and operators that it lacks."""

    def __init__(self, missing: tuple[Operator, ...] = ()) -> None:
        self.lacks = missing

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        return LatencyEstimate(np.full(len(genotypes), 7.0), None, np.ones(len(genotypes), dtype=bool), self.lacks)

    def fastest(self) -> tuple[Genotypes, float]:
        return SPACE.extreme(largest=False), 7.0


def test_an_estimator_may_say_no_more_than_its_estimate() -> None:
    mine, rows = _Mine(), SPACE.sample(3, np.random.default_rng(0))
    assert (mine.missing, mine.factors, mine.operator_energy_mj, mine.has_std) == ((), None, None, False)
    assert mine.latency_ms(rows).tolist() == [7.0, 7.0, 7.0]


def test_a_mean_without_coverage_is_refused_by_name() -> None:
    with pytest.raises(CoverageError, match=r"lacks 5 operators: conv 160x160x3.*; mbconv.*; mbconv.* and 2 more"):
        _Mine(SPACE.operators[:5]).latency_ms(SPACE.sample(1, np.random.default_rng(0)))


def test_an_interval_holds_its_share_of_a_normal() -> None:
    assert 2 * NormalDist().cdf(INTERVAL) - 1 == pytest.approx(INTERVAL_SHARE, abs=1e-12)


def _table(correction: dict[str, Any] | None) -> TableEstimator:
    costs = np.random.default_rng(0).uniform(0.05, 1, len(SPACE.operators))
    counts, none = np.ones(len(costs), dtype=np.int64), np.zeros(0)
    rows = OperatorRows(SPACE.operators, costs, costs, costs, counts, costs, ("",) * len(costs))
    networks = NetworkRows((), none, none, none, none.astype(np.int64), none, none)
    return TableEstimator(LatencyTable(rows, networks, {"correction": correction}), SPACE)


def _few_shot() -> FewShotPredictor:
    rows = SPACE.sample(40, np.random.default_rng(0))
    session = FewShotSession(SPACE, fit_prior(SPACE, rows, np.zeros((40, 0)), np.random.default_rng(0)), rows)
    for _ in range(6):
        chosen = session.next()
        session.tell(chosen, float(SPACE.macs(rows[chosen][None])[0] / 1e7))
    return session.predictor()


ESTIMATORS: dict[str, Callable[[], LatencyEstimator]] = {
    "mine": _Mine,
    "table": lambda: _table(None),
    "table with slowdown": lambda: _table(
        {"slowdown": {"gain": 0.1, "threshold": 5e6, "width": 0.3}, "held_out_std": 0.02}
    ),
    "roofline": lambda: RooflineEstimator(
        replace(load_profile(profile_names()[0]), peak_gmacs=10.0, bandwidth_gb_s=5.0), SPACE
    ),
    "few-shot": _few_shot,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_whatever_an_estimator_says_of_itself_holds(name: str) -> None:
    estimator, rows = ESTIMATORS[name](), SPACE.sample(30, np.random.default_rng(1))
    found = estimator.estimate(rows)
    assert found.covered.all()
    assert estimator.missing == ()
    assert (found.std_ms is not None) == estimator.has_std
    np.testing.assert_allclose(estimator.latency_ms(rows), found.mean_ms, rtol=1e-9)
    if estimator.factors is not None:
        total = sum(table[tuple(rows[:, column] for column in columns)] for columns, table in estimator.factors)
        np.testing.assert_allclose(total, found.mean_ms, rtol=1e-12)
    fastest, fastest_ms = estimator.fastest()
    assert fastest_ms <= found.mean_ms.min() * (1 + 1e-9)
    np.testing.assert_allclose(estimator.latency_ms(fastest[None]), [fastest_ms], rtol=1e-9)
