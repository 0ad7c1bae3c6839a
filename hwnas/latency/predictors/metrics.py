"""How well predictions stand against measurements."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from scipy.stats import kendalltau, spearmanr
from scipy.stats import t as student

from hwnas.latency.estimate import INTERVAL, LatencyEstimate
from hwnas.spaces.space import Floats

__all__ = ["Scores", "interval_of_mean", "score_estimate"]


@dataclass(frozen=True)
class Scores:
    """Of one device and seed. `mape` and `interval_coverage` are fractions; None where there is nothing to compute.

    `mape` needs predictions in ms, `interval_coverage` a standard deviation: the share of measurements that lie in
    the 90 % interval. Ties get mean ranks (`spearman`), or τ-b (`kendall_tau`).
    """

    spearman: float
    kendall_tau: float
    mape: float | None
    interval_coverage: float | None

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


def score_estimate(estimate: LatencyEstimate, measured_ms: Floats, in_ms: bool) -> Scores:
    """The scores of predictions against `measured_ms` `[N]`; `in_ms` is False for scores that only rank."""
    error = np.abs(estimate.mean_ms - measured_ms)
    within = None if estimate.std_ms is None else float((error <= INTERVAL * estimate.std_ms).mean())
    constant = np.ptp(estimate.mean_ms) == 0
    return Scores(
        0.0 if constant else float(spearmanr(estimate.mean_ms, measured_ms).statistic),
        0.0 if constant else float(kendalltau(estimate.mean_ms, measured_ms).statistic),
        float((error / measured_ms).mean()) if in_ms else None,
        within,
    )


def interval_of_mean(values: Floats) -> list[float]:
    """The 95 % confidence interval `[low, high]` of the mean of `values`, by Student's t; of one value, that value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return [mean, mean]
    half = float(student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return [mean - half, mean + half]
