"""Which network to measure next: the one whose measurement lowers the mean variance of all predictions most.

By how much depends on who teaches, which is not known: it is the mean over the hypotheses of each kind. That no device
teaches counts for half at least, however little is thought of it. Measurements that serve a device which others teach
tell little where they do not, and on a noisy device ten of them end before that is seen; those that serve a device by
itself are nearly as good for one that others teach.

Shapes: N candidates, P coefficients, K kinds of hypotheses, n measured rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.fewshot.hypotheses import ALONE, KINDS, LIKE
from hwnas.latency.fewshot.prior import DEFAULT_NOISE, LatencyPrior
from hwnas.spaces.space import Floats

__all__ = ["Beliefs", "most_informative", "prior_beliefs"]

_LEAST_ALONE = 0.5
_NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class Beliefs:
    """What each kind of hypotheses holds: its weight `[K]`, the variances of the basis's coefficients `[K, P]` before
    measuring, and the noise variance `[K]`. `apart` `[K, ., P]`: directions in which its own hypotheses differ.
    """

    weights: Floats
    variances: Floats
    noise: Floats
    apart: Sequence[Floats]

    @classmethod
    def of(
        cls, kind: NDArray[np.int64], weights: Floats, factor: Floats, noise: Floats, apart: Sequence[Floats] | None
    ) -> Beliefs:
        """Of hypotheses `[H]`, numbered as in `hypotheses.py`, with these weights; those alike are one."""
        of_kind = np.minimum(kind, LIKE)
        held = np.equal.outer(np.arange(len(KINDS)), of_kind) * weights
        total = held.sum(axis=1)
        shares = held / np.maximum(total, 1e-300)[:, None]
        none = [np.zeros((0, factor.shape[1]))] * len(KINDS)
        return cls(total, shares @ factor, np.square(shares @ np.sqrt(noise)), none if apart is None else apart)


def prior_beliefs(prior: LatencyPrior) -> Beliefs:
    """What is believed before measuring."""
    rows = prior.hypotheses
    weights, start = np.exp(rows.log_prior), prior.starting(rows.lines)
    apart = []
    for number in range(len(KINDS)):
        own = weights * (np.minimum(rows.kind, LIKE) == number)
        own = own / max(float(own.sum()), 1e-300)
        apart.append((start - own @ start)[own > 0] * np.sqrt(own[own > 0])[:, None])
    factor = (rows.widths / prior.reference_widths)[:, prior.part]
    noise = np.exp(np.where(rows.kind == ALONE, DEFAULT_NOISE[0], prior.noise[0]))
    return Beliefs.of(rows.kind, weights, factor, noise, apart)


def most_informative(
    beliefs: Beliefs, columns: Floats, noise_shape: Floats, rounding: float, measured: list[int], apart: Floats,
    left: Floats,
) -> int:  # fmt: skip
    """The candidate whose measurement is expected to lower the mean variance over all candidates most.

    `columns` `[N, P]`: the candidates' basis. The noise variance of a measurement is that of `beliefs` times
    `noise_shape` `[N]`, and `rounding`. `apart` `[., N]`, by how much hypotheses differ after the rows `measured`:
    telling them apart lowers the variance as well. `left` `[N]` is 0 for candidates that may not be chosen.
    """
    weights = beliefs.weights.copy()
    weights[ALONE] = max(weights[ALONE], _LEAST_ALONE)
    gain = np.zeros(len(columns))
    for number in np.flatnonzero(weights > _NEGLIGIBLE).tolist():
        own = beliefs.apart[number] @ columns.T
        covariance = (columns * beliefs.variances[number]) @ columns.T + own.T @ own
        noise = beliefs.noise[number] * noise_shape + rounding
        gain += weights[number] * _gain(covariance, noise, measured, apart)
    return int(np.where(left > 0, gain, -np.inf).argmax())


def _gain(covariance: Floats, noise: Floats, measured: list[int], apart: Floats) -> Floats:
    """By how much measuring each candidate `[N]` lowers the sum of all variances."""
    if measured:
        across = covariance[measured]
        gram = across[:, measured] + np.diag(noise[measured])
        covariance = covariance - across.T @ np.linalg.solve(gram, across)
    covariance = covariance + apart.T @ apart
    return np.asarray(np.square(covariance).sum(axis=0) / (np.maximum(np.diag(covariance), 0) + noise))
