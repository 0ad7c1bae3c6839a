"""What latency stays under: the bound that P[latency <= budget] rests on."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.latency.config import OnboardConfig, ProtocolConfig
from hwnas.latency.estimate import LatencyEstimate

COVERED = np.ones(2, dtype=bool)


@pytest.mark.parametrize(
    ("confidence", "deviations"),
    [(0.5, 0.0), (0.8413447, 1.0), (0.9, 1.2815516), (0.975, 1.9599640), (0.1, -1.2815516)],
)
def test_the_bound_is_so_many_deviations_above_the_mean(confidence: float, deviations: float) -> None:
    """From the table of the normal distribution; above the mean for more than one half, beneath it for less."""
    estimate = LatencyEstimate(np.array([10.0, 20.0]), np.array([1.0, 4.0]), COVERED)
    assert estimate.upper_ms(confidence) == pytest.approx([10 + deviations, 20 + 4 * deviations], abs=1e-6)


@pytest.mark.parametrize("confidence", [0.05, 0.5, 0.8, 0.99])
def test_latency_is_within_the_bound_with_that_probability(confidence: float) -> None:
    drawn = np.random.default_rng(0).normal(10.0, 2.0, 200_000)
    estimate = LatencyEstimate(np.array([10.0, 10.0]), np.array([2.0, 2.0]), COVERED)
    assert np.mean(drawn <= estimate.upper_ms(confidence)[0]) == pytest.approx(confidence, abs=0.005)


def test_without_a_deviation_the_bound_is_the_mean() -> None:
    assert LatencyEstimate(np.array([10.0, 20.0]), None, COVERED).upper_ms(0.99).tolist() == [10.0, 20.0]


def test_settings_of_onboarding_to_the_edge() -> None:
    assert OnboardConfig() == OnboardConfig(300, None, None, 0)
    assert OnboardConfig(candidates=20, target_mape=0.999, check_networks=0).candidates == 20
    assert OnboardConfig(target_mape=1e-9).target_mape == 1e-9
    for wrong in ({"candidates": 19}, {"target_mape": 0.0}, {"target_mape": 1.0}, {"check_networks": -1}):
        with pytest.raises(ConfigError, match=f"onboard.{next(iter(wrong))}: expected"):
            OnboardConfig(**wrong)
    assert ProtocolConfig().scaling == "honest"
    assert ProtocolConfig("published").scaling == "published"
    with pytest.raises(ConfigError, match="unknown"):
        ProtocolConfig("honestly")
