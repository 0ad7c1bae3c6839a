"""How wide intervals have to be: as wide as it takes for them to hold on training devices that are left out.

Shapes: n rows measured on D training devices, NaN where one did not measure a row; G genes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hwnas.latency.features import feature_groups
from hwnas.latency.fewshot import MIN_MEASUREMENTS, FewShotSession
from hwnas.latency.metrics import INTERVAL, INTERVAL_SHARE
from hwnas.latency.prior import MIN_DEVICES, SPREAD_COUNTS, LatencyPrior, fit_prior, joined, without
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["taught_prior"]

_DRAWS = 2
_CANDIDATES = 300


def taught_prior(space: Space, genotypes: Genotypes, latency_ms: Floats, rng: np.random.Generator) -> LatencyPrior:
    """`fit_prior` with a `spread` at which 90 % intervals hold 90 % of the truth on left-out training devices.

    Each device of `latency_ms` `[n, D]` is left out, together with those much like it, and predicted from
    measurements that are chosen as they are on a new device. With too few devices or rows, `spread` is 1.
    """
    prior = fit_prior(space, genotypes, latency_ms, rng)
    most = int((~np.isnan(latency_ms)).sum(axis=0).max(initial=0))
    counts = [count for count in SPREAD_COUNTS if count <= most // 2]
    if latency_ms.shape[1] < MIN_DEVICES or not counts:
        return prior
    features = joined(feature_groups(space)(genotypes))
    errors: dict[int, list[Floats]] = {count: [] for count in counts}
    for device, column in enumerate(latency_ms.T):
        own, known = without(prior, device, features), np.flatnonzero(~np.isnan(column))
        enough = [count for count in counts if count <= len(known) // 2]
        for _ in range(_DRAWS if enough else 0):
            rows = rng.permutation(known)[:_CANDIDATES]
            for count, error in _standardised_errors(space, own, genotypes[rows], column[rows], enough).items():
                errors[count].append(error)
    spread = [float(np.quantile(np.concatenate(errors[count]), INTERVAL_SHARE)) / INTERVAL for count in counts]
    return replace(prior, spread=np.array(spread + spread[-1:] * (len(SPREAD_COUNTS) - len(counts))))


def _standardised_errors(
    space: Space, prior: LatencyPrior, genotypes: Genotypes, latency_ms: Floats, counts: list[int]
) -> dict[int, Floats]:
    """Absolute errors over standard deviations of the rows not measured, after each of `counts` measurements."""
    session = FewShotSession(space, prior, genotypes)
    unseen = np.ones(len(genotypes), dtype=bool)
    found = {}
    for count in range(1, counts[-1] + 1):
        chosen = session.next()
        unseen[chosen] = False
        session.tell(chosen, latency_ms[chosen])
        if count >= MIN_MEASUREMENTS and count in counts:
            estimate = session.predictor().estimate(genotypes[unseen])
            found[count] = np.abs(estimate.mean_ms - latency_ms[unseen]) / estimate.std_ms
    return found
