"""The latency predictors behind one interface: taught by the training devices, then by a few measurements.

Baselines say what a predictor has to beat: MACs and parameters alone, a random forest or gradient-boosted trees on
the measurements alone, and the training device whose latencies fit the measurements best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.stats import spearmanr

from hwnas.errors import ConfigError, DataError, MissingExtraError, choices
from hwnas.latency.estimate import LatencyEstimate
from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.features import feature_groups
from hwnas.latency.fewshot.method import FewShotSession, check_measurements
from hwnas.latency.fewshot.prior import MIN_DEVICES, LatencyPrior, joined
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["METHODS", "Adapted", "FewShotMethod", "Method", "Target", "few_devices_note", "make_method"]

_CANDIDATES = 300


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


@dataclass(frozen=True)
class _OfSession:
    """A few-shot predictor, and how probable each hypothesis is."""

    estimate: Adapted
    hypotheses: dict[str, float]

    def __call__(self, genotypes: Genotypes) -> LatencyEstimate:
        return self.estimate(genotypes)


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


class FewShotMethod:
    """The few-shot predictor. Candidates are a random part of the pool, so that seeds measure different rows."""

    in_ms = True
    least = 3
    extra_measurements = 0

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:
        progress(0.0, "teaching the prior")
        pool = data.genotypes[: data.pool]
        if len(data.train_devices) < MIN_DEVICES:
            self.notes = (few_devices_note(len(data.train_devices)),)
            latency_ms = np.zeros((len(pool), 0))
        else:
            latency_ms = data.train_pool
        self._space, self._pool = data.space, pool
        self._prior: LatencyPrior = taught_prior(data.space, pool, latency_ms, rng)

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows = rng.choice(target.pool, min(max(_CANDIDATES, count), len(target.pool)), replace=False)
        session = FewShotSession(self._space, self._prior, self._pool[rows])
        for _ in range(count):
            chosen = session.next()
            session.tell(chosen, target(int(rows[chosen])))
        return _OfSession(session.predictor().estimate, session.hypotheses)


def few_devices_note(devices: int) -> str:
    """What is said where there is nothing to learn from other devices."""
    return (
        f"{devices} training device{'' if devices == 1 else 's'}: at least {MIN_DEVICES} are needed to learn how"
        " devices differ; predicting from the architecture's features alone"
    )


class _Counted:
    """Ranks by MACs or parameters; in ms by one factor, which the measurements tell."""

    in_ms = True
    least = 1
    extra_measurements = 0
    notes: tuple[str, ...] = ()

    def __init__(self, count: Callable[[Space, Genotypes], Any]) -> None:
        self._count = count

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:  # noqa: ARG002
        if not data.space.operators:
            raise ConfigError(f"space {data.space.name} has no operators to count: choose another latency=…")
        self._space, self._pool = data.space, data.genotypes[: data.pool]

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows, latency_ms = _measured(target, self._space, self._pool, count, rng, self.least)
        factor = float(np.median(latency_ms / self._count(self._space, self._pool[rows])))
        return lambda genotypes: _plain(factor * self._count(self._space, genotypes))


class _Trees:
    """A regressor of scikit-learn or LightGBM on the space's one-hot genes and counts, from the measurements alone."""

    in_ms = True
    least = 2
    extra_measurements = 0
    notes: tuple[str, ...] = ()

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def teach(self, data: LatencyData, rng: np.random.Generator, progress: Progress) -> None:  # noqa: ARG002
        self._make(0)
        self._space, self._pool = data.space, data.genotypes[: data.pool]

    def adapt(self, target: Target, count: int, rng: np.random.Generator) -> Adapted:
        rows, latency_ms = _measured(target, self._space, self._pool, count, rng, self.least)
        groups = feature_groups(self._space)
        model = self._make(int(rng.integers(2**31))).fit(joined(groups(self._pool[rows])), latency_ms)
        return lambda genotypes: _plain(model.predict(joined(groups(genotypes))))


class _NearestDevice:
    """The training device whose latencies rank the measurements best; in ms by one factor."""

    in_ms = True
    least = 1
    extra_measurements = 0
    notes: tuple[str, ...] = ()

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


def _plain(mean_ms: Floats) -> LatencyEstimate:
    return LatencyEstimate(np.asarray(mean_ms, dtype=np.float64), None, np.ones(len(mean_ms), dtype=bool))


def _forest(seed: int) -> Any:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as cause:
        raise MissingExtraError("scikit-learn", "train", "latency=forest") from cause
    return RandomForestRegressor(n_estimators=100, random_state=seed)


def _help(published: bool, file: Path | None = None) -> Method:
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train", "latency=help")
    from hwnas.latency.help.method import HelpMethod

    return HelpMethod(published, file=file)


METHODS: dict[str, Callable[[bool], Method]] = {
    "fewshot": lambda _: FewShotMethod(),
    "help": _help,
    "macs": lambda _: _Counted(lambda space, genotypes: space.macs(genotypes)),
    "parameters": lambda _: _Counted(lambda space, genotypes: space.parameters(genotypes)),
    "forest": lambda _: _Trees(_forest),
    "nearest_device": lambda _: _NearestDevice(),
}
"""Methods by name, made for the honest protocol or the published one, of which HELP alone knows more."""


def make_method(name: str, published: bool = False, file: Path | None = None) -> Method:
    """The method `name`; `file`: HELP as meta-trained before.

    Raises ConfigError for another name, MissingExtraError where it needs what isn't installed.
    """
    if name not in METHODS:
        raise ConfigError(f"latency={name}: no predictor of new devices; {choices(name, METHODS)}")
    return _help(published, file) if name == "help" else METHODS[name](published)
