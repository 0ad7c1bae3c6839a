"""From the agent's samples to latencies: drift divided out, medians over rounds, and the noise that stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hwnas.errors import DeviceError
from hwnas.profiling.agent import REFERENCE

__all__ = ["Measurements", "ModelLatency", "evaluate_samples", "percentage_errors", "rank_correlation"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModelLatency:
    """One model's latency in ms, medians over rounds. `samples`: invocations timed, in `rounds` rounds.

    `raw_ms` is as measured; `median_ms`, `p10_ms` and `p90_ms` are divided by the reference network's drift around
    each sample. `odd_ms` and `even_ms`: the median over every other round (NaN with one round), for test-retest error.
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    raw_ms: float
    odd_ms: float
    even_ms: float
    samples: int
    rounds: int
    interval: float

    @property
    def drift(self) -> float:
        """The reference's latency around this model's samples over its nominal latency."""
        return self.raw_ms / self.median_ms


@dataclass(frozen=True)
class Measurements:
    """What an agent found: latencies by model, refusals by model, facts about the device, the reference's latency.

    `reference_ms` is the latency that drift is relative to: that in this measurement, unless given.
    `reference_now_ms` is the latency in this measurement in any case.
    """

    latencies: dict[str, ModelLatency]
    rejected: dict[str, str]
    facts: dict[str, Any]
    reference_ms: float
    reference_now_ms: float
    disturbed_share: float

    def sure_share(self, interval: float) -> float:
        """The share of models whose median is known to `interval` of itself; 1 without any."""
        return float(np.mean([one.interval <= interval for one in self.latencies.values()] or [True]))

    def test_retest_mape(self, models: Sequence[str]) -> float:
        """The mean relative difference between odd and even rounds over `models`, a fraction; NaN without any."""
        found = [self.latencies[model] for model in models if model in self.latencies]
        pairs = np.array([(entry.odd_ms, entry.even_ms) for entry in found]).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(axis=1)]
        if not len(pairs):
            return float("nan")
        return float((np.abs(pairs[:, 0] - pairs[:, 1]) / pairs.mean(axis=1)).mean())


def percentage_errors(predicted: Floats, measured: Floats) -> Floats:
    """Absolute errors relative to `measured`, as fractions, `[N]`."""
    return np.asarray(np.abs(predicted - measured) / measured)


def rank_correlation(predicted: Floats, measured: Floats) -> float | None:
    """Spearman's, None where one side is constant, or one network: it is undefined there."""
    if len(measured) < 2 or np.ptp(predicted) == 0 or np.ptp(measured) == 0:
        return None
    return float(spearmanr(predicted, measured).statistic)


def evaluate_samples(
    events: Sequence[dict[str, Any]], facts: dict[str, Any], rejected: dict[str, str], reference_ms: float | None = None
) -> Measurements:
    """The latencies in the agent's `sample` events.

    A sample's drift is the reference's latency, interpolated linearly in time between the reference samples around
    it, over `reference_ms` (default: the reference's latency in these events, the mean of its copies' medians). Each
    copy counts relative to its own median. Raises DeviceError without a reference.
    """
    reference = sorted((event["at"], event["copy"], event["ms"]) for event in events if event["id"] == REFERENCE)
    if not reference:
        raise DeviceError("the reference network was not measured: run the same command again")
    times, copies, values = (np.array(column) for column in zip(*reference, strict=True))
    medians = {copy: float(np.median(values[copies == copy])) for copy in np.unique(copies)}
    now_ms = float(np.mean(list(medians.values())))
    values = values / np.array([medians[copy] for copy in copies]) * now_ms
    nominal_ms = now_ms if reference_ms is None else reference_ms
    by_model: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_model.setdefault(event["id"], []).append(event)
    drift_of = {identity: np.interp([e["at"] for e in own], times, values) for identity, own in by_model.items()}
    latencies = {
        identity: _latency(sorted(zip(own, drift_of[identity] / nominal_ms, strict=True), key=lambda p: p[0]["round"]))
        for identity, own in by_model.items()
        if identity != REFERENCE
    }
    disturbed = float(np.mean([event["disturbed"] for event in events]))
    return Measurements(latencies, rejected, facts, nominal_ms, now_ms, disturbed)


def _latency(pairs: list[tuple[dict[str, Any], float]]) -> ModelLatency:
    ms, p10, p90 = (np.array([event[key] for event, _ in pairs]) for key in ("ms", "p10", "p90"))
    drift = np.array([drift for _, drift in pairs])
    corrected = ms / drift
    halves = [float(np.median(corrected[start::2])) if len(pairs) > 1 else float("nan") for start in (0, 1)]
    return ModelLatency(
        median_ms=float(np.median(corrected)),
        p10_ms=float(np.median(p10 / drift)),
        p90_ms=float(np.median(p90 / drift)),
        raw_ms=float(np.median(ms)),
        odd_ms=halves[1],
        even_ms=halves[0],
        samples=int(sum(event["repeats"] for event, _ in pairs)),
        rounds=len(pairs),
        interval=_interval(corrected),
    )


def _interval(values: Floats) -> float:
    # By the median absolute deviation, so that a few disturbed rounds don't widen it: the standard error of the median
    # of normal values is 1.2533 of that of their mean.
    if len(values) < 2:
        return float("inf")
    median = np.median(values)
    deviation = 1.4826 * np.median(np.abs(values - median))
    return float(1.96 * 1.2533 * deviation / np.sqrt(len(values)) / median)
