"""Which network to measure next: the one whose measurement lowers the mean variance of all predictions most.

Shapes: N candidates, P coefficients, n measured rows.
"""

from __future__ import annotations

import numpy as np

from hwnas.latency.fewshot.prior import LatencyPrior
from hwnas.spaces.space import Floats

__all__ = ["most_informative", "prior_covariance"]


def prior_covariance(prior: LatencyPrior, columns: Floats) -> Floats:
    """Of relative latency before measuring, `[N, N]`, from a basis: of each hypothesis, and between them."""
    rows = prior.hypotheses
    weights = np.exp(rows.log_prior)
    factor = weights @ (rows.widths / prior.reference_widths)[:, prior.part]
    apart = prior.starting(rows.lines) @ columns.T
    apart = (apart - weights @ apart) * np.sqrt(weights)[:, None]
    return np.asarray((columns * factor) @ columns.T + apart.T @ apart)


def most_informative(covariance: Floats, noise: Floats, measured: list[int], apart: Floats, left: Floats) -> int:
    """The candidate whose measurement lowers the mean variance over all candidates most.

    `covariance` `[N, N]` is the candidates', before the rows `measured` were; `noise` `[N]` their noise variance;
    `apart` `[., N]`, by how much hypotheses differ after that: telling them apart lowers the variance as well. `left`
    `[N]` is 0 for candidates that may not be chosen.
    """
    if measured:
        across = covariance[measured]
        gram = across[:, measured] + np.diag(noise[measured])
        covariance = covariance - across.T @ np.linalg.solve(gram, across)
    covariance = covariance + apart.T @ apart
    gain = np.square(covariance).sum(axis=0) / (np.maximum(np.diag(covariance), 0) + noise)
    return int(np.where(left > 0, gain, -np.inf).argmax())
