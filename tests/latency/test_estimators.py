"""What an estimator need not say."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from hwnas.errors import CoverageError
from hwnas.latency.estimate import INTERVAL, INTERVAL_SHARE, LatencyEstimate, LatencyEstimator
from hwnas.spaces import Genotypes, OfaMbv3Config, Operator, make_space

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
