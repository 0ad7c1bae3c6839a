"""Latency of genotype arrays from a table: a sum over operators, and the slowdown of large networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import TableError
from hwnas.latency.descent import descend
from hwnas.latency.estimate import LatencyEstimate, LatencyEstimator, require_coverage
from hwnas.latency.tables.correction import NO_SLOWDOWN, Slowdown
from hwnas.latency.tables.table import LatencyTable
from hwnas.operators import Operator
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor

__all__ = ["TableEstimator"]

_BLOCK = 4096  # what stays in a core's cache: twice as fast as all at once
_MULTIPLIERS = (0.0, 0.03, 0.1, 0.3, 1.0)


class TableEstimator(LatencyEstimator):
    """A LatencyEstimator: the sum of each network's `in_network_ms`, times the table's slowdown for its parameters.

    `std_ms` is the spread of networks held out of the table's correction around it, relative to the mean, or None
    for a table without whole networks.

    >>> table = hwnas.LatencyTable.read("latency_tables/ofa_mbv3/emerald_rapids_2_cores/onnxruntime-fp32-1t.csv")
    >>> space = hwnas.make_space("ofa_mbv3", resolution=(160, 192, 224))
    >>> largest = space.extreme(largest=True)[None]
    >>> round(float(hwnas.TableEstimator(table, space).latency_ms(largest)[0]))  # ms
    12
    """

    def __init__(self, table: LatencyTable, space: Space) -> None:
        self.space = space
        cost = dict(zip(table.operators.operators, table.operators.in_network_ms, strict=True))
        self._costs = np.array([cost.get(operator, np.nan) for operator in space.operators])
        self._energy_mj = _energy(table, space)
        self._parameters = np.array([operator.parameters for operator in space.operators], dtype=np.float64)
        self._slowdown, self._spread = _correction(table.provenance)

    @property
    def missing(self) -> tuple[Operator, ...]:
        """The space's operators that the table has no latency for."""
        lacking = np.isnan(self._costs)
        return tuple(operator for operator, lacks in zip(self.space.operators, lacking, strict=True) if lacks)

    @property
    def has_std(self) -> bool:
        """For a table with whole networks."""
        return self._spread is not None

    @property
    def factors(self) -> tuple[Factor, ...] | None:
        """Each slot's genes and latencies, which add up to the mean; None for a table with slowdown, where none do."""
        if self._slowdown.gain:
            return None
        return self.space.factors(self._costs)

    @property
    def operator_energy_mj(self) -> NDArray[np.float64] | None:
        """As the table's column says; None for a table without."""
        return self._energy_mj

    def estimate(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes; NaN, uncovered, for a network with an operator that the table lacks."""
        mean = np.empty(len(genotypes))
        for start in range(0, len(genotypes), _BLOCK):
            block = slice(start, start + _BLOCK)
            mean[block] = self._mean(genotypes[block])
        covered = ~np.isnan(mean)
        missing: tuple[Operator, ...] = ()
        if not covered.all():
            held = self.space.operator_counts(genotypes[~covered]).any(axis=0) & np.isnan(self._costs)
            missing = tuple(self.space.operators[position] for position in np.flatnonzero(held))
        std = None if self._spread is None else self._spread * mean
        return LatencyEstimate(mean, std, covered, missing)

    def _mean(self, genotypes: Genotypes) -> NDArray[np.float64]:
        total = self.space.sum_over_operators(genotypes, self._costs)
        if self._slowdown.gain:
            total = total * self._slowdown.factor(self.space.sum_over_operators(genotypes, self._parameters))
        return total

    def fastest(self) -> tuple[Genotypes, float]:
        """The network `[G]` with the lowest estimate, and that in ms. Raises CoverageError unless all is covered.

        Exact for a table without slowdown. With one, latency rises with both the sum and the parameters: the best
        of several exact trade-offs between the two is improved gene by gene until no single change helps.
        """
        require_coverage(self.missing)
        scale = np.nansum(self._costs) / self._parameters.sum()
        rates = _MULTIPLIERS if self._slowdown.gain else _MULTIPLIERS[:1]
        found = [self.space.minimise_over_operators(self._costs + rate * scale * self._parameters)[0] for rate in rates]
        return descend(self.space, lambda genotypes: self.estimate(genotypes).mean_ms, np.stack(found))


def _energy(table: LatencyTable, space: Space) -> NDArray[np.float64] | None:
    """The energy of each of the space's operators in mJ, `[O]`, NaN where it is not known; None without that column."""
    values = table.operators.energy_mj
    if values is None:
        return None
    known = dict(zip(table.operators.operators, values, strict=True))
    return np.array([known.get(operator, np.nan) for operator in space.operators])


def _correction(provenance: dict[str, Any]) -> tuple[Slowdown, float | None]:
    values = provenance.get("correction")
    if values is None:
        return NO_SLOWDOWN, None
    try:
        slowdown = Slowdown(**{key: float(value) for key, value in values["slowdown"].items()})
        spread = float(values["held_out_std"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TableError(f"the table's provenance has no valid correction ({error}): measure it again") from error
    if not (slowdown.gain >= 0 and slowdown.threshold > 0 and slowdown.width > 0 and spread >= 0):
        raise TableError(f"the table's correction is out of range ({values}): measure the table again")
    return slowdown, spread
