"""Latency budgets that fit a device, and random networks to compare a result with.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hwnas.errors import ConfigError, HwnasError
from hwnas.search.config import SearchConfig
from hwnas.search.problem import Objective
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Budget", "resolve_budgets", "sample_near_latency"]

_POOL = 20_000


@dataclass(frozen=True)
class Budget:
    """A latency budget. `quantile` is what it was taken from, None where it was given in ms."""

    name: str
    budget_ms: float
    quantile: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"name": self.name, "budget_ms": self.budget_ms, "quantile": self.quantile}


def resolve_budgets(
    space: Space, latency_ms: Objective, config: SearchConfig, rng: np.random.Generator, least_ms: float = 0.0
) -> tuple[Budget, ...]:
    """The budgets that `config` asks for on one device, tightest first.

    `config.budgets` as they are, or, where there are none, the `config.budget_quantiles` of the latency of
    `config.budget_samples` random networks, rounded to three digits; where that is less than the fastest network
    takes (`least_ms`), the next such number from there upwards. Two budgets are named `tight` and `loose`,
    others by their value (`30ms`, `q25`). Equal budgets are kept once. Raises HwnasError where a latency is no number.
    """
    if config.budgets:
        values: list[tuple[float, float | None]] = [(float(value), None) for value in sorted(set(config.budgets))]
    else:
        latency = _finite(latency_ms, space.sample(config.budget_samples, rng))
        quantiles = sorted(set(config.budget_quantiles))
        values = [(_attainable(float(np.quantile(latency, quantile)), least_ms), quantile) for quantile in quantiles]
        values = [pair for place, pair in enumerate(values) if place == 0 or pair[0] > values[place - 1][0]]
    if len(values) == 2:
        names = ["tight", "loose"]
    else:
        names = [f"{value:g}ms" if quantile is None else f"q{100 * quantile:g}" for value, quantile in values]
    return tuple(Budget(name, value, quantile) for name, (value, quantile) in zip(names, values, strict=True))


def _attainable(budget_ms: float, least_ms: float) -> float:
    """`budget_ms` to three digits, or the next such number from `least_ms` upwards where it is more."""
    rounded = float(f"{budget_ms:.3g}")
    if rounded >= least_ms:
        return rounded
    step = 10.0 ** (np.floor(np.log10(least_ms)) - 2)
    # Powers of ten are no whole binary fractions: print it, then see.
    above = float(f"{np.ceil(least_ms / step) * step:.3g}")
    return above if above >= least_ms else float(f"{above + step:.3g}")


def sample_near_latency(
    space: Space,
    latency_ms: Objective,
    target_ms: float,
    tolerance: float,
    count: int,
    rng: np.random.Generator,
    *,
    most_draws: int = 1_000_000,
    excluded: Genotypes | None = None,
) -> Genotypes:
    """Distinct random networks whose latency is within `tolerance` (a fraction) of `target_ms`, `[N, G]`.

    Exactly `count` of them, the first found, so that they are a fair sample of all such networks; fewer, possibly
    none, where `most_draws` random networks hold no more, so that the caller must look at the length. None of
    `excluded` `[M, G]` is among them.

    Raises ConfigError for a target or tolerance that is not positive, HwnasError where a latency is no number.
    """
    if not target_ms > 0 or not tolerance > 0 or count < 0:
        raise ConfigError(
            "random networks near a latency: expected a positive target, tolerance and count,"
            f" got {target_ms} ms, {tolerance}, {count}"
        )
    none = np.empty((0, len(space.genes)), dtype=np.int64)
    barred = none if excluded is None else space.unique(excluded)
    found = barred
    for drawn in range(0, most_draws, _POOL):
        if len(found) >= len(barred) + count:
            break
        pool = space.sample(min(_POOL, most_draws - drawn), rng)
        near = np.abs(_finite(latency_ms, pool) - target_ms) <= tolerance * target_ms
        found = space.unique(np.concatenate([found, pool[near]]))
    return found[len(barred) :][:count]


def _finite(latency_ms: Objective, genotypes: Genotypes) -> Floats:
    latency = np.asarray(latency_ms(genotypes), dtype=np.float64)
    missing = int(np.isnan(latency).sum())
    if missing:
        raise HwnasError(
            f"latency_ms is not a number for {missing} of {len(genotypes)} random networks: expected a table or"
            " predictor that covers the whole space"
        )
    return latency
