"""What every latency estimator returns."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Operator

__all__ = ["LatencyEstimate", "LatencyEstimator"]


@dataclass(frozen=True)
class LatencyEstimate:
    """Latency of N architectures.

    `mean_ms` `[N]` holds NaN where `covered` `[N]` is false: a number is never made up. `std_ms` `[N]` is None for
    estimators without an uncertainty. `missing` names the operators that were not covered.
    """

    mean_ms: NDArray[np.float64]
    std_ms: NDArray[np.float64] | None
    covered: NDArray[np.bool_]
    missing: tuple[Operator, ...] = ()

    def upper_ms(self, confidence: float) -> NDArray[np.float64]:
        """What latency stays under with probability `confidence`, `[N]`: the mean where there is no `std_ms`."""
        if self.std_ms is None:
            return self.mean_ms
        return self.mean_ms + NormalDist().inv_cdf(confidence) * self.std_ms


class LatencyEstimator(Protocol):
    """Predicts latency for genotypes of one space on one device setting."""

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes."""
        ...
