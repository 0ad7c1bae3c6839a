"""What every latency estimator returns."""

from __future__ import annotations

from dataclasses import dataclass
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


class LatencyEstimator(Protocol):
    """Predicts latency for genotypes of one space on one device setting."""

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes."""
        ...
