"""Scores predictors of new devices as a user would meet them (`honest`), or as HELP's paper did (`published`).

Honest: of the target the predictor sees exactly n latencies, of pool rows of its own choice, and nothing else.
Published (Lee et al., HELP, NeurIPS 2021): HELP also sees the target pool's smallest and largest latency, and
measures its 10 reference architectures besides the n. Test rows are the same in both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from hwnas.errors import DataError
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.interface import Method, Target
from hwnas.latency.predictors.metrics import Scores, interval_of_mean, score_estimate
from hwnas.progress import Progress

__all__ = ["ProtocolResult", "Trial", "run_protocol"]

_LEAST_TEST_ROWS = 3


@dataclass(frozen=True)
class Trial:
    """One device and seed: its scores, how many latencies of it were seen, and the weight of each hypothesis."""

    device: str
    seed: int
    scores: Scores
    measurements_used: int
    rows: tuple[int, ...]
    hypotheses: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "device": self.device, "seed": self.seed, **self.scores.to_dict(),
            "measurements_used": self.measurements_used, "rows": list(self.rows),
            "hypotheses": self.hypotheses,
        }  # fmt: skip


@dataclass(frozen=True)
class ProtocolResult:
    """All trials of one method, and their means."""

    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Means over devices and seeds; `ci95` is of the mean Spearman over devices, from one seed to the next.

        `hypotheses`: the mean weight of each, where the method has some.
        """
        devices = list(dict.fromkeys(trial.device for trial in self.trials))
        seeds = sorted({trial.seed for trial in self.trials})
        by_seed = [np.mean([t.scores.spearman for t in self.trials if t.seed == seed]) for seed in seeds]
        return {
            "mean_spearman": float(np.mean(by_seed)),
            "ci95": interval_of_mean(np.array(by_seed)),
            "mean_kendall_tau": _mean(self.trials, "kendall_tau"),
            "mape": _mean(self.trials, "mape"),
            "interval_coverage": _mean(self.trials, "interval_coverage"),
            "measurements_used": max(trial.measurements_used for trial in self.trials),
            "per_device": {device: self._device(device) for device in devices},
            "hypotheses": _mean_weights(self.trials),
            "seeds": len(seeds),
            "trials": [trial.to_dict() for trial in self.trials],
            "notes": list(self.notes),
        }

    def _device(self, device: str) -> dict[str, Any]:
        own = tuple(trial for trial in self.trials if trial.device == device)
        found: dict[str, Any] = {key: _mean(own, key) for key in asdict(own[0].scores)}
        found["hypotheses"] = _mean_weights(own)
        return found | {"ci95": interval_of_mean(np.array([trial.scores.spearman for trial in own]))}


def run_protocol(
    data: LatencyData,
    method: Method,
    measurements: int,
    seeds: int,
    seed: int,
    published: bool,
    progress: Progress,
) -> ProtocolResult:
    """Teach `method` once, then adapt it to every test device with each of `seeds` seeds, from `seed` on.

    Raises DataError where `measurements` are fewer than the method needs, or more than the pool has.
    """
    if measurements < method.least:
        raise DataError(f"measurements={measurements}: this predictor needs at least {method.least}")
    if measurements > data.pool:
        raise DataError(f"measurements={measurements}: the pool has {data.pool} architectures")
    method.teach(data, np.random.default_rng(seed), lambda share, status: progress(0.5 * share, status))
    trials = []
    runs = [(number, device) for number in range(seed, seed + seeds) for device in data.test_devices]
    for done, (number, device) in enumerate(runs):
        progress(0.5 + 0.5 * done / len(runs), f"{device}, seed {number}")
        latency_ms = data.column(device)
        pool_rows = data.pool_rows(device) if published else None
        target = Target(latency_ms, data.pool, measurements + method.extra_measurements, pool_rows)
        rows = data.test_rows(device)
        if measurements > len(target.pool) or len(rows) < _LEAST_TEST_ROWS:
            raise DataError(
                f"{device} has {len(target.pool)} values among the pool's rows and {len(rows)} among the test rows;"
                f" expected at least the {measurements} measurements and {_LEAST_TEST_ROWS}"
            )
        rng = np.random.default_rng([number, list(data.test_devices).index(device)])
        predict = method.adapt(target, measurements, rng)
        scores = score_estimate(predict(data.genotypes[rows]), latency_ms[rows], method.in_ms)
        hypotheses: dict[str, float] = getattr(predict, "hypotheses", {})
        trials.append(Trial(device, number, scores, len(target.rows), tuple(target.rows), hypotheses))
    return ProtocolResult(tuple(trials), (*data.notes, *method.notes))


def _mean(trials: tuple[Trial, ...], key: str) -> float | None:
    values = [getattr(trial.scores, key) for trial in trials]
    return None if any(value is None for value in values) else float(np.mean(values))


def _mean_weights(trials: tuple[Trial, ...]) -> dict[str, float]:
    """The mean weight of each hypothesis; none for methods that have none."""
    return {name: float(np.mean([trial.hypotheses[name] for trial in trials])) for name in trials[0].hypotheses}
