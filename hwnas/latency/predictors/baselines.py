"""What a predictor has to beat: MACs and parameters alone, a random forest on the measurements alone, and the training
device whose latencies fit the measurements best.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from hwnas.errors import ConfigError, DataError, MissingExtraError
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.fewshot.features import feature_groups
from hwnas.latency.fewshot.method import check_measurements
from hwnas.latency.fewshot.prior import joined
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.interface import Adapted, MethodBase, Target
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.genes import Floats

__all__ = ["ForestMethod", "MacsMethod", "NearestDeviceMethod", "ParametersMethod"]


class _Counted(MethodBase):
    """Ranks by MACs or parameters; in ms by one factor, which the measurements tell."""

    @staticmethod
    @abstractmethod
    def _count(space: Space, genotypes: Genotypes) -> NDArray[np.int64]:
        """What is counted of each network, `[N]`."""

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:  # noqa: ARG002
        if not data.space.operators:
            raise ConfigError(f"space {data.space.name} has no operators to count: choose another latency=…")
        self._space, self._pool = data.space, data.genotypes[: data.pool]

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows, latency_ms = _measured(target, self._space, self._pool, count, rng, self.least)
        factor = float(np.median(latency_ms / self._count(self._space, self._pool[rows])))
        return lambda genotypes: _plain(factor * self._count(self._space, genotypes))


class MacsMethod(_Counted):
    """By multiply-accumulates."""

    @staticmethod
    def _count(space: Space, genotypes: Genotypes) -> NDArray[np.int64]:
        return space.macs(genotypes)


class ParametersMethod(_Counted):
    """By parameters."""

    @staticmethod
    def _count(space: Space, genotypes: Genotypes) -> NDArray[np.int64]:
        return space.parameters(genotypes)


class ForestMethod(MethodBase):
    """A random forest on the space's one-hot genes and counts, from the measurements alone."""

    least = 2

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:  # noqa: ARG002
        _forest(0)
        self._space, self._pool = data.space, data.genotypes[: data.pool]

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows, latency_ms = _measured(target, self._space, self._pool, count, rng, self.least)
        groups = feature_groups(self._space)
        model = _forest(int(rng.integers(2**31))).fit(joined(groups(self._pool[rows])), latency_ms)
        return lambda genotypes: _plain(model.predict(joined(groups(genotypes))))


class NearestDeviceMethod(MethodBase):
    """The training device whose latencies rank the measurements best; in ms by one factor."""

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        progress(0.0, "fitting the training devices")
        if not data.train_devices:
            raise DataError("latency=nearest_device: expected at least one of data.train_devices, got none")
        self._space, self._pool = data.space, data.genotypes[: data.pool]
        latency_ms = data.train_pool
        doubled = latency_ms if latency_ms.shape[1] > 1 else np.repeat(latency_ms, 2, axis=1)
        self._prior = fit_prior(data.space, self._pool, doubled, rng)

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows, latency_ms = _measured(target, self._space, self._pool, count, rng, self.least)
        known = self._predicted(self._pool[rows])
        ranks = [spearmanr(column, latency_ms).statistic if count > 2 else 0.0 for column in known.T]
        best = int(np.nan_to_num(ranks, nan=-1.0).argmax())
        factor = float(np.median(latency_ms / known[:, best]))
        return lambda genotypes: _plain(factor * self._predicted(genotypes)[:, best])

    def _predicted(self, genotypes: Genotypes) -> Floats:
        prior = self._prior
        inputs = (joined(feature_groups(self._space)(genotypes)) - prior.centre) * prior.scale
        return np.asarray(np.maximum(prior.devices[:, 0] + inputs @ prior.devices[:, 1:].T, 0.01))


def _measured(
    target: Target, space: Space, pool: Genotypes, count: int, rng: np.random.Generator, least: int
) -> tuple[np.ndarray, Floats]:
    rows = rng.choice(target.pool, count, replace=False)
    latency_ms = np.array([target(int(row)) for row in rows])
    check_measurements(space, pool[rows], latency_ms, least)
    return rows, latency_ms


def _plain(mean_ms: NDArray[np.floating[Any]]) -> LatencyEstimate:
    return LatencyEstimate(np.asarray(mean_ms, dtype=np.float64), None, np.ones(len(mean_ms), dtype=bool))


def _forest(seed: int) -> Any:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as cause:
        raise MissingExtraError("scikit-learn", "train", "latency=forest") from cause
    return RandomForestRegressor(n_estimators=100, random_state=seed)
