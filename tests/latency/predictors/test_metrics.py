"""Scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.estimate import INTERVAL, LatencyEstimate
from hwnas.latency.predictors.metrics import interval_of_mean, score_estimate


def estimate(mean: list[float], std: list[float] | None = None) -> LatencyEstimate:
    return LatencyEstimate(np.array(mean), None if std is None else np.array(std), np.ones(len(mean), dtype=bool))


def test_scores_of_four_networks() -> None:
    measured = np.array([1.0, 2.0, 4.0, 5.0])
    # Ranks 1 3 2 4. Errors 0.5, 2, 1, 1; within 1.645 deviations of 0.4, 1, 1 and 0.6: the first and the third.
    found = score_estimate(estimate([1.5, 4.0, 3.0, 6.0], [0.4, 1.0, 1.0, 0.6]), measured, in_ms=True)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found.kendall_tau == pytest.approx((5 - 1) / 6)
    assert found.mape == pytest.approx((0.5 + 1.0 + 0.25 + 0.2) / 4)
    assert found.interval_coverage == 0.5
    assert set(found.to_dict()) == {"spearman", "kendall_tau", "mape", "interval_coverage"}
    ranked = score_estimate(estimate([1.5, 4.0, 3.0, 6.0]), measured, in_ms=False)
    assert (ranked.mape, ranked.interval_coverage, ranked.spearman) == (None, None, found.spearman)


def test_a_constant_ranks_nothing() -> None:
    found = score_estimate(estimate([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 4.0]), in_ms=True)
    assert (found.spearman, found.kendall_tau) == (0.0, 0.0)
    assert found.mape == pytest.approx((1 + 0 + 0.5) / 3)


def test_the_edge_of_an_interval_is_within_it() -> None:
    assert (
        score_estimate(estimate([INTERVAL, 0.0], [1.0, 1.0]), np.array([0.0, 9.0]), in_ms=False).interval_coverage
        == 0.5
    )


def test_the_mean_of_few_is_uncertain_by_students_t() -> None:
    """For two degrees of freedom 97.5 % lie under 4.30265 (Student's table); for one, under 12.7062."""
    half = 4.30265 / np.sqrt(3)
    assert interval_of_mean(np.array([1.0, 2.0, 3.0])) == pytest.approx([2 - half, 2 + half], abs=1e-4)
    half = 12.7062 * np.sqrt(2) / np.sqrt(2)
    assert interval_of_mean(np.array([1.0, 3.0])) == pytest.approx([2 - half, 2 + half], abs=1e-3)
    assert interval_of_mean(np.array([7.0])) == [7.0, 7.0]
