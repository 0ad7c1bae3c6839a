"""How wide intervals have to be: as wide as it takes for them to hold on training devices that are left out.

Each is predicted three times: from the devices that are not much like it, from the half of these that is least like it,
so that intervals hold where sources mislead as well, and from no device at all.

Shapes: n rows measured on D training devices, NaN where one did not measure a row; G genes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.latency.estimate import INTERVAL, INTERVAL_SHARE
from hwnas.latency.fewshot.features import feature_groups
from hwnas.latency.fewshot.method import MIN_MEASUREMENTS, FewShotSession
from hwnas.latency.fewshot.prior import (
    MIN_DEVICES,
    SPREAD_COUNTS,
    LatencyPrior,
    joined,
    least_like,
    taught_by_none,
    without,
)
from hwnas.latency.fewshot.teaching import fit_prior
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["taught_prior"]

_CANDIDATES = 300
_DEVICES = 12  # that are left out: more cost time, and teach little about intervals
_DEVICE_SHARE = 0.75  # of left-out devices on which intervals are to hold as much as they say
_ASSUMED_WEIGHT = 8  # devices that what is assumed without any counts for: each says little about a new one


def taught_prior(space: Space, genotypes: Genotypes, latency_ms: Floats, rng: np.random.Generator) -> LatencyPrior:
    """`fit_prior` with a `spread` at which 90 % intervals hold 90 % of the truth on most left-out training devices.

    Devices of `latency_ms` `[n, D]` are left out, together with those much like them, and predicted from measurements
    that are chosen as they are on a new device. With too few devices or rows, `spread` is what is assumed.
    """
    prior = fit_prior(space, genotypes, latency_ms, rng)
    most = int((~np.isnan(latency_ms)).sum(axis=0).max(initial=0))
    counts = [count for count in SPREAD_COUNTS if count <= most // 2]
    if latency_ms.shape[1] < MIN_DEVICES or not counts:
        return prior
    features = joined(feature_groups(space)(genotypes))
    alone: list[Floats] = []
    taught: list[Floats] = []
    for device in rng.permutation(latency_ms.shape[1])[:_DEVICES]:
        column = latency_ms[:, device]
        known = np.flatnonzero(~np.isnan(column))
        enough = [count for count in counts if count <= len(known) // 2]
        others = without(prior, int(device), features)
        for own, found in (
            (others, taught),
            (least_like(prior, others, int(device), features), taught),
            (taught_by_none(prior), alone),
        ):
            rows = rng.permutation(known)[:_CANDIDATES]
            needed = _needed_spread(space, own, genotypes[rows], column[rows], enough)
            found.append(np.array([needed.get(count, np.nan) for count in SPREAD_COUNTS]))
    assumed = np.tile(prior.spread[0], (_ASSUMED_WEIGHT, 1))
    spread = [_holding(np.stack([*assumed, *found])) for found in (alone, taught)]
    return replace(prior, spread=np.stack(spread))


def _holding(needed: Floats) -> Floats:
    """Of rows of spreads that devices needed, by number of measurements: what most of them need."""
    known = ~np.isnan(needed).all(axis=0)
    if not known.any():
        return np.ones(needed.shape[1])
    found = np.nanquantile(needed[:, known], _DEVICE_SHARE, axis=0)
    return np.asarray(np.interp(np.arange(needed.shape[1]), np.flatnonzero(known), found))


def _needed_spread(
    space: Space, prior: LatencyPrior, genotypes: Genotypes, latency_ms: Floats, counts: list[int]
) -> dict[int, float]:
    """What standard deviations must be multiplied by on the rows not measured, after each of `counts` measurements.

    Nothing of a device whose measurements are all the same.
    """
    session = FewShotSession(space, replace(prior, spread=np.ones_like(prior.spread)), genotypes)
    unseen = np.ones(len(genotypes), dtype=bool)
    found: dict[int, float] = {}
    told = []
    for count in range(1, max(counts, default=0) + 1):
        chosen = session.next()
        unseen[chosen] = False
        session.tell(chosen, latency_ms[chosen])
        told.append(latency_ms[chosen])
        if count >= MIN_MEASUREMENTS and np.ptp(told) == 0:  # too coarse a clock to learn from
            return found
        if count >= MIN_MEASUREMENTS and count in counts:
            estimate = session.predictor().estimate(genotypes[unseen])
            errors = np.abs(estimate.mean_ms - latency_ms[unseen]) / estimate.std_ms
            found[count] = float(np.quantile(errors, INTERVAL_SHARE)) / INTERVAL
    return found
