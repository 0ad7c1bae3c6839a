"""Prior widths by marginal likelihood (type II maximum likelihood; Rasmussen and Williams, 2006, 5.4.1).

Shapes: B batches of n rows, K kernels; a covariance is the sum of kernels times their variances, and noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.gaussian import likelihood_slopes, log_determinant, log_marginal_likelihood, most_probable
from hwnas.spaces.space import Floats

__all__ = ["maximise_evidence"]

_JITTER = 1e-6
_WIDTH = 4.0  # of the prior over logarithms


def maximise_evidence(
    kernels: Floats,
    targets: Floats,
    noise_shape: Floats,
    device: NDArray[np.int64],
    start: Floats,
    iterations: int,
) -> tuple[Floats, Floats]:
    """Variances `[K]` of `kernels` `[B, K, n, n]` that all batches share, and the noise variance of each device.

    `targets` `[B, n]` are centred; a row's noise variance is its device's times `noise_shape` `[B, n]`; `device`
    `[B]` says which device a batch is of. `start` `[K + 1]`: variances and noise to start from. A weak prior, a
    normal over their logarithms around `start` a few orders of magnitude wide, keeps what the rows say nothing about.
    """
    batches, count, rows, _ = kernels.shape
    devices = int(device.max()) + 1
    centre = np.log(np.r_[start[:count], np.full(devices, start[count])])
    flat = kernels.reshape(batches, count, rows * rows)
    identity = np.eye(rows)

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        values = np.exp(logarithms)
        noise = values[count:][device][:, None] * noise_shape + _JITTER
        covariance = np.einsum("k,bkm->bm", values[:count], flat).reshape(batches, rows, rows)
        covariance += noise[:, :, None] * identity
        factor = np.linalg.cholesky(covariance)
        inverse = np.linalg.inv(covariance)
        weights = np.einsum("bij,bj->bi", inverse, targets)
        value = -log_marginal_likelihood(float((weights * targets).sum()), log_determinant(factor))
        outer = likelihood_slopes(inverse, weights)
        by_kernel = np.einsum("bkm,bm->k", flat, outer.reshape(batches, -1))
        by_batch = (np.diagonal(outer, axis1=1, axis2=2) * noise_shape).sum(axis=1)
        by_device = np.bincount(device, weights=by_batch, minlength=devices)
        return value, values * np.r_[by_kernel, by_device]

    values = most_probable(loss, centre, _WIDTH, [(-18.0, 4.0)] * len(centre), iterations)
    return values[:count], values[count:]
