"""What every latency estimator returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import CoverageError
from hwnas.operators import Operator
from hwnas.spaces import Genotypes
from hwnas.spaces.elimination import Factor
from hwnas.spaces.genes import Floats

__all__ = ["INTERVAL", "INTERVAL_SHARE", "LatencyEstimate", "LatencyEstimator", "require_coverage"]

INTERVAL_SHARE = 0.9
INTERVAL = 1.6448536269514722  # standard deviations on either side of an interval that holds that share


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


class LatencyEstimator(ABC):
    """Predicts latency for genotypes of one space on one device setting. What it doesn't say is the default here."""

    @property
    def missing(self) -> tuple[Operator, ...]:
        """Operators of the space that it doesn't cover."""
        return ()

    @property
    def has_std(self) -> bool:
        """Whether its estimates have a standard deviation."""
        return False

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        """Each slot's genes and latencies, where the mean is their sum; else None."""
        return None

    @property
    def operator_energy_mj(self) -> Floats | None:
        """The energy of each of the space's operators in mJ, `[O]`, NaN where it is not known; None where none is."""
        return None

    @abstractmethod
    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes."""

    def latency_ms(self, genotypes: Genotypes) -> Floats:
        """The mean of `estimate` alone, `[N]`. Raises CoverageError where an operator is missing."""
        found = self.estimate(genotypes)
        require_coverage(found.missing)
        return found.mean_ms

    @abstractmethod
    def fastest(self) -> tuple[Genotypes, float]:
        """The network `[G]` with the lowest mean, and that in ms. Raises CoverageError unless all is covered."""


def require_coverage(missing: Sequence[Operator]) -> None:
    """Raises CoverageError naming the operators, unless there are none."""
    if missing:
        named = "; ".join(map(str, missing[:3]))
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CoverageError(
            f"the latency table lacks {len(missing)} operators: {named}{more}; measure a table for this space and its"
            " resolutions with hwnas profile"
        )
