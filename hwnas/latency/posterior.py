"""From a few measurements to a posterior over a device's latency function, averaged over what is not known.

How noisy the device is, and how far its operators' costs are from other devices', is not known either: the posterior
is the average over a grid of both, weighted by the evidence. Measurements far off count less (Student's t with four
degrees of freedom, by expectation maximisation).

Shapes: n measurements, N architectures, P coefficients, H grid points, R directions in which measurements inform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.prior import LatencyPrior
from hwnas.spaces.space import Floats

__all__ = ["Posterior", "adapt", "most_informative"]

_NOISE_STEPS = np.linspace(-2.5, 2.5, 8)
_FACTORS = np.array([0.25, 1.0, 4.0])
_FIRST_GROUP = 4  # widths before: mean, constant, cost, devices
_FREEDOM = 4.0
_LIKELY = 0.01
_ROBUST_STEPS = 3
_SCALE_STEPS = 3
_FLOOR = 0.05
_ROUNDING_VARIANCE = 1 / 12  # of whole milliseconds, ms²


@dataclass(frozen=True)
class Posterior:
    """Relative latency is `mean(x) + basis(x) · coefficients`; `scale_ms` makes it milliseconds.

    Its variance is `basis(x)² · diagonal + sum over r of signs_r (basis(x) · directions_r)²`, and `noise` times the
    prior's noise shape for a measurement; times `spread` squared, which makes intervals hold.
    """

    coefficients: Floats
    diagonal: Floats
    directions: Floats
    signs: Floats
    noise: float
    scale_ms: float
    spread: float

    def moments(self, mean: Floats, columns: Floats, noise_shape: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation in ms of a measurement, `[N]` each, from what `LatencyPrior.basis` gives."""
        variance = np.square(columns) @ self.diagonal + np.square(columns @ self.directions.T) @ self.signs
        return self.expected_ms(mean + columns @ self.coefficients), self.std_ms(variance, noise_shape)

    def expected_ms(self, relative: Floats) -> Floats:
        """Relative latency in ms, at least 1 % of a typical one."""
        return np.asarray(self.scale_ms * np.maximum(relative, 0.01))

    def std_ms(self, variance: Floats, noise_shape: Floats) -> Floats:
        """Standard deviation in ms of a measurement, of the relative latency's variance."""
        total = np.maximum(variance, 0) + self.noise * noise_shape
        return np.asarray(self.scale_ms * self.spread * np.sqrt(total))


def adapt(prior: LatencyPrior, features: Floats, latency_ms: Floats, typical: Floats) -> Posterior:
    """The posterior after measuring `latency_ms` `[n]` of architectures with `features` `[n, F]`.

    `typical` `[P]` is the mean of the basis over typical networks, on which relative latency is 1. Latencies that
    are all whole milliseconds are taken as rounded to them.
    """
    mean, columns = prior.basis(features)
    shape = prior.noise_shape(mean)
    scale = float(np.exp(np.median(np.log(latency_ms / np.maximum(mean, _FLOOR)))))
    rounded = len(latency_ms) > 1 and bool(np.all(latency_ms == np.round(latency_ms)))
    levels = np.exp(prior.noise[0] + prior.noise[1] * _NOISE_STEPS)
    noise, relative, log_prior = _grid(prior, levels)
    by_part = np.stack(
        [columns[:, own] @ columns[:, own].T for own in prior.part == np.arange(relative.shape[1])[:, None]]
    )
    kernel = np.einsum("hk,knm->hnm", relative, by_part)
    factor = relative[:, prior.part]
    for _ in range(_SCALE_STEPS):
        target = latency_ms / scale - mean
        floor = _ROUNDING_VARIANCE / scale**2 if rounded else 0.0
        variance = noise[:, None] * shape + floor
        inverse, solved, log_evidence = _robust(kernel, variance, target)
        weights = np.exp(log_prior + log_evidence - (log_prior + log_evidence).max())
        weights /= weights.sum()
        coefficients = weights @ (factor * (solved @ columns))
        # On typical networks relative latency is 1 by definition; a wrong scale shows there.
        scale *= float(np.clip(1 + typical @ coefficients, 0.5, 2.0))
    by_point = factor * ((inverse @ (latency_ms / scale - mean)) @ columns)
    coefficients = weights @ by_point
    likely = weights > _LIKELY * weights.max()
    directions, signs = _changes(
        prior.part,
        columns,
        relative[likely],
        inverse[likely],
        by_point[likely],
        weights[likely] / weights[likely].sum(),
        coefficients,
    )
    typical_noise = float(weights @ np.sqrt(noise)) ** 2
    spread = prior.spread_after(len(latency_ms))
    return Posterior(coefficients, weights @ factor, directions, signs, typical_noise, scale, spread)


def _grid(prior: LatencyPrior, levels: Floats) -> tuple[Floats, Floats, Floats]:
    """Noise variance `[H]`, widths relative to the reference `[H, K]` and log prior `[H]` of each grid point."""
    widths = (prior.widths / prior.reference_widths)[:, None, :] * np.ones((1, len(_FACTORS), 1))
    widths[:, :, _FIRST_GROUP:] *= _FACTORS[:, None]
    widths = widths.reshape(-1, widths.shape[2])
    log_factor = np.tile(-0.5 * np.log(_FACTORS) ** 2, len(prior.widths))
    noise = np.repeat(levels, len(widths))
    log_prior = np.repeat(-0.5 * _NOISE_STEPS**2, len(widths)) + np.tile(log_factor, len(levels))
    return noise, np.tile(widths, (len(levels), 1)), log_prior


def most_informative(columns: Floats, noise: Floats, measured: Floats, measured_noise: Floats, left: Floats) -> int:
    """The candidate whose measurement lowers the mean variance over all candidates most.

    `columns` `[N, P]` are the candidates' basis, `noise` `[N]` their noise variance, `measured` `[n, P]` and
    `measured_noise` `[n]` what was measured before, `left` `[N]` is 0 for candidates that may not be chosen.
    """
    covariance = columns @ columns.T
    if len(measured):
        gram = measured @ measured.T + np.diag(measured_noise)
        across = measured @ columns.T
        covariance = covariance - across.T @ np.linalg.solve(gram, across)
    gain = np.square(covariance).sum(axis=0) / (np.maximum(np.diag(covariance), 0) + noise)
    return int(np.where(left > 0, gain, -np.inf).argmax())


def _robust(kernel: Floats, variance: Floats, target: Floats) -> tuple[Floats, Floats, Floats]:
    """Each grid point's inverse covariance `[H, n, n]`, that times the target `[H, n]`, and log evidence `[H]`."""
    weight = np.ones_like(variance)
    identity = np.eye(len(target))
    for _ in range(_ROBUST_STEPS):
        effective = variance / weight
        inverse = np.linalg.inv(kernel + effective[:, :, None] * identity)
        solved = inverse @ target
        residual = effective * solved
        uncertain = effective - effective**2 * np.diagonal(inverse, axis1=1, axis2=2)
        weight = (_FREEDOM + 1) / (_FREEDOM + (residual**2 + uncertain) / variance)
    _, log_determinant = np.linalg.slogdet(inverse)
    log_evidence = 0.5 * log_determinant - 0.5 * (solved @ target)
    # Weights are scales of the noise drawn from their own prior, whose density counts too.
    log_evidence = log_evidence + (0.5 * _FREEDOM * (np.log(weight) - weight)).sum(axis=1)
    return np.asarray(inverse), solved, np.asarray(log_evidence)


def _changes(
    part: NDArray[np.int64],
    columns: Floats,
    relative: Floats,
    inverse: Floats,
    by_point: Floats,
    weights: Floats,
    mean: Floats,
) -> tuple[Floats, Floats]:
    """What measurements, and the grid points' disagreement, change of the variance: directions `[R, P]`, signs `[R]`.

    Grid points scale the parts of the basis differently, and so all lie in the span of the parts one by one, which
    have no coefficient in common: an orthonormal basis of each is one of all.
    """
    blocks, of_block = [], []
    for number in range(relative.shape[1]):
        own = part == number
        if not own.any():
            continue
        _, singular, rows = np.linalg.svd(columns[:, own], full_matrices=False)
        rows = rows[singular > 1e-9 * max(singular[0], 1e-12)]
        block = np.zeros((len(rows), len(part)))
        block[:, own] = rows
        blocks.append(block)
        of_block += [number] * len(rows)
    basis = np.concatenate(blocks)
    seen = columns @ basis.T
    inside = np.zeros((len(basis), len(basis)))
    for point, weight in enumerate(weights):
        scaled, found = seen * relative[point, of_block], basis @ by_point[point]
        inside += weight * (np.outer(found, found) - scaled.T @ inverse[point] @ scaled)
    inside -= np.outer(basis @ mean, basis @ mean)
    values, vectors = np.linalg.eigh(inside)
    kept = np.abs(values) > 1e-6 * np.abs(values).max()
    return vectors[:, kept].T @ basis, values[kept]
