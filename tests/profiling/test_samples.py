"""Drift is divided out, and noise is stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.errors import ConfigError, DeviceError
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.samples import evaluate_samples


def sample(model: str, at: float, ms: float, number: int = 0, copy: int = 0) -> dict[str, Any]:
    event = {"event": "sample", "id": model, "round": number, "at": at, "ms": ms, "p10": 0.9 * ms, "p90": 1.2 * ms}
    return {**event, "repeats": 10, "disturbed": False, **({"copy": copy} if model == REFERENCE else {})}


def slowing_machine() -> list[dict[str, Any]]:
    """Two models of 1 and 2 ms and a reference of 0.5 ms, on a machine that becomes twice as slow within 8 rounds."""
    events, at = [], 0.0
    for number in range(8):
        for model, ms in ((REFERENCE, 0.5), ("a", 1.0), ("b", 2.0), (REFERENCE, 0.5)):
            events.append(sample(model, at, ms * (1 + at / 31), number))
            at += 1
    return events


def test_a_linear_drift_is_divided_out_exactly() -> None:
    found = evaluate_samples(slowing_machine(), {}, {}, reference_ms=0.5)
    assert found.latencies["a"].median_ms == pytest.approx(1.0)
    assert found.latencies["b"].p10_ms == pytest.approx(1.8)
    assert found.latencies["b"].p90_ms == pytest.approx(2.4)
    assert found.latencies["a"].raw_ms == pytest.approx(1.5, rel=0.05)
    assert found.latencies["a"].drift == pytest.approx(1.5, rel=0.05)
    assert found.latencies["a"].samples == 80
    assert found.test_retest_mape(["a", "b"]) == pytest.approx(0.0, abs=1e-12)


def test_without_a_nominal_latency_drift_is_relative_to_the_median() -> None:
    found = evaluate_samples(slowing_machine(), {}, {})
    assert found.reference_ms == found.reference_now_ms == pytest.approx(0.75, rel=0.02)
    assert found.latencies["b"].median_ms / found.latencies["a"].median_ms == pytest.approx(2.0)


def test_copies_of_the_reference_that_differ_are_no_drift() -> None:
    events = []
    for number in range(12):
        copy = number % 3
        events.append(sample(REFERENCE, number, 0.5 + 0.1 * copy, number, copy))
        events.append(sample("a", number + 0.5, 1.0, number))
    found = evaluate_samples(events, {}, {})
    assert found.reference_ms == pytest.approx(0.6)
    assert found.latencies["a"].median_ms == pytest.approx(1.0)
    assert found.test_retest_mape(["a"]) == pytest.approx(0.0, abs=1e-12)


def test_test_retest_error_compares_odd_and_even_rounds() -> None:
    events = [sample(REFERENCE, 0.0, 1.0)]
    events += [sample("a", number, 1.1 if number % 2 else 0.9, number) for number in range(8)]
    assert evaluate_samples(events, {}, {}).test_retest_mape(["a"]) == pytest.approx(0.2)
    assert np.isnan(evaluate_samples(events, {}, {}).test_retest_mape([]))


def test_no_reference_is_an_error() -> None:
    with pytest.raises(DeviceError, match="reference"):
        evaluate_samples([sample("a", 0.0, 1.0)], {}, {})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"runtime": "onxruntime"}, "did you mean 'onnxruntime'"),
        ({"precision": "fp8"}, "valid: fp32"),
        ({"threads": 0}, "profiling.threads"),
        ({"rounds": 1}, "profiling.rounds"),
        ({"slice_ms": 0.0}, "profiling.slice_ms"),
        ({"slice_ms": float("nan")}, "profiling.slice_ms"),
        ({"reference_every": 0}, "profiling.reference_every"),
        ({"networks": 3}, "profiling.networks"),
        ({"folds": 1}, "profiling.folds"),
    ],
)
def test_a_wrong_config_is_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ProfilingConfig(**values)


def test_the_setting_names_the_table() -> None:
    assert ProfilingConfig(runtime="litert", threads=2).setting == "litert-fp32-2t"
