"""What a predictor of new devices is: taught by the training devices, then by a few measurements of a target.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from hwnas.errors import DataError
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.progress import Progress
from hwnas.spaces import Genotypes
from hwnas.spaces.genes import Floats

__all__ = ["Adapted", "Method", "MethodBase", "Target"]


class Target:
    """A new device: hands out its latencies one by one, and counts them. `pool`: rows that may be measured.

    `pool_rows` are its pool's, trimmed by its latency, under the published protocol, where `allowed` counts the
    reference architectures as well, and `pool_range_ms` is their smallest and largest latency. Both are None under
    the honest one, where rows beyond the pool are refused.
    """

    def __init__(self, latency_ms: Floats, pool: int, allowed: int, pool_rows: np.ndarray | None = None) -> None:
        self._latency_ms = latency_ms[:pool] if pool_rows is None else latency_ms
        self._allowed = allowed
        self.pool_rows = pool_rows
        self.pool_range_ms: tuple[float, float] | None = None
        if pool_rows is not None:
            self.pool_range_ms = float(latency_ms[pool_rows].min()), float(latency_ms[pool_rows].max())
        self.rows: list[int] = []
        self.pool = np.flatnonzero(np.isfinite(latency_ms[:pool]))

    def __call__(self, row: int) -> float:
        """The latency of a row, in ms. Raises ValueError where a predictor asks for more than it may, DataError for a
        row that has none on this device.
        """
        if len(self.rows) >= self._allowed or row >= len(self._latency_ms):
            raise ValueError(f"row {row} may not be measured: {len(self.rows)} of {self._allowed} measurements used")
        if not np.isfinite(self._latency_ms[row]):
            raise DataError(f"row {row}, which this predictor measures on any device, has no value on this one")
        self.rows.append(int(row))
        return float(self._latency_ms[row])


class Adapted(Protocol):
    """A predictor of one device. It may say in `hypotheses` how probable each of its hypotheses is."""

    def __call__(self, genotypes: Genotypes) -> LatencyEstimate:
        """The latency of `[N, G]` genotypes."""
        ...


class Method(Protocol):
    """A way to predict. `in_ms` is False where it only ranks; `notes` say what was done instead of the usual.

    `least`: the fewest measurements that it adapts to; `extra_measurements`: those that it takes besides.
    """

    in_ms: bool
    least: int
    notes: tuple[str, ...]
    extra_measurements: int

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        """Learn from the training devices' pool rows."""
        ...

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        """Adapt to a device by `count` calls of `target(row)`, each a pool row's latency in ms."""
        ...


class MethodBase(Method):
    """What most methods say of themselves."""

    in_ms = True
    least = 1
    extra_measurements = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def make(cls, published: bool, file: Path | None) -> Method:  # noqa: ARG003
        """The method for the honest protocol or the `published` one; `file`: as taught before, for methods with files.

        What a method has no use for is left aside.
        """
        return cls()
