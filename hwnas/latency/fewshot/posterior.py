"""From a few measurements to a posterior over a device's latency function, averaged over what is not known.

How noisy the device is, how far its operators' costs are from other devices', and whether these teach anything is not
known either: the posterior is the average over a grid of all that (the rows of `hwnas.latency.fewshot.hypotheses` times
widths times noise), weighted by the evidence. Measurements far off count less (Student's t with four degrees of
freedom, by expectation maximisation).

Shapes: n measurements, N architectures, P coefficients, H grid points, R directions in which measurements inform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.gaussian import log_marginal_likelihood
from hwnas.latency.fewshot.choosing import Beliefs
from hwnas.latency.fewshot.hypotheses import ALL, ALONE, DEVICES, KINDS, LIKE
from hwnas.latency.fewshot.prior import DEFAULT_NOISE, LatencyPrior
from hwnas.spaces.space import Floats

__all__ = ["TAIL", "Posterior", "adapt"]

_NOISE_STEPS = np.linspace(-2.5, 2.5, 8)
_FREEDOM = 4.0
TAIL = (2.132 / 1.645) ** 2  # 90 % of Student's t with that freedom, in a normal's units
_LIKELY = 0.01
_ROBUST_STEPS = 3
_SCALE_STEPS = 3
_OWN_SPREAD = 5.0
_FLOOR = 0.05
_ROUNDING_VARIANCE = 1 / 12  # of whole milliseconds, ms²


@dataclass(frozen=True)
class Posterior:
    """Relative latency is `mean(x) + basis(x) · coefficients`; `scale_ms` makes it milliseconds.

    Its variance is `basis(x)² · diagonal + sum over r of signs_r (basis(x) · directions_r)²`, and `noise` times the
    square of relative latency for a measurement, times `spread` squared, which makes intervals
    hold; and `rounding` where the clock is coarse. `kinds`: the weight of each hypothesis, numbered as in
    `hwnas.latency.fewshot.hypotheses`, and `by_kind` `[., P]`: the coefficients that each by itself expects.
    """

    coefficients: Floats
    diagonal: Floats
    directions: Floats
    signs: Floats
    noise: float
    rounding: float
    scale_ms: float
    spread: float
    kinds: Floats
    by_kind: Floats

    def moments(self, mean: Floats, columns: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation in ms of a measurement, `[N]` each, from what `LatencyPrior.basis` gives."""
        variance = np.square(columns) @ self.diagonal + np.square(columns @ self.directions.T) @ self.signs
        expected = mean + columns @ self.coefficients
        return self.expected_ms(expected), self.std_ms(variance, LatencyPrior.noise_shape(expected))

    def disagreement(self, columns: Floats) -> Floats:
        """What hypotheses expect apart from the mean, `[., N]`, times the root of their weight."""
        apart = (self.by_kind - self.coefficients) @ columns.T
        return np.asarray(np.sqrt(self.kinds)[:, None] * apart)

    @property
    def hypotheses(self) -> dict[str, float]:
        """The weight of each of `KINDS`; they sum to 1."""
        summed = np.bincount(np.minimum(np.arange(len(self.kinds)), LIKE), self.kinds, len(KINDS))
        return {name: float(weight) for name, weight in zip(KINDS, summed, strict=True)}

    def taught(self, prior: LatencyPrior) -> Floats:
        """How much each device teaches, `[D]`: shares that sum to the weight of the hypotheses that any does.

        Where all teach, a share goes by the size of what the device adds to differences that are predicted.
        """
        if not len(prior.devices):
            return np.zeros(0)
        natural = self.by_kind[ALL] * prior.unit
        own = natural[prior.part == DEVICES]
        used = np.abs((1 + natural[0] + natural[2] - own.sum()) / len(own) + own)
        used *= np.linalg.norm(prior.devices[:, 1:], axis=1)
        shares = self.kinds[ALL] * used / max(float(used.sum()), 1e-12)
        members = prior.groups / prior.groups.sum(axis=1, keepdims=True)
        return np.asarray(shares + self.kinds[LIKE:] @ members)

    def expected_ms(self, relative: Floats) -> Floats:
        """Relative latency in ms, at least 1 % of a typical one."""
        return np.asarray(self.scale_ms * np.maximum(relative, 0.01))

    def std_ms(self, variance: Floats, noise_shape: Floats) -> Floats:
        """Standard deviation in ms of a measurement, of the relative latency's variance."""
        total = np.square(self.spread) * (np.maximum(variance, 0) + TAIL * self.noise * noise_shape)
        return np.asarray(self.scale_ms * np.sqrt(total + self.rounding))


@dataclass(frozen=True)
class _Grid:
    """Points `[H]`: noise variance, variances of the basis's coefficients `[H, P]`, their means, and what they say."""

    noise: Floats
    widths: Floats
    factor: Floats
    start: Floats
    kind: NDArray[np.int64]
    log_prior: Floats

    @classmethod
    def of(cls, prior: LatencyPrior) -> _Grid:
        rows, noises = prior.hypotheses, len(_NOISE_STEPS)
        # Where no device teaches, none teaches how noisy this one is either.
        centre, width = np.where(rows.kind[:, None] == ALONE, DEFAULT_NOISE, prior.noise).T[:, :, None]
        levels = np.exp(centre + width * _NOISE_STEPS)
        widths = np.repeat(rows.widths, noises, axis=0)
        return cls(
            levels.ravel(),
            widths,
            (widths / prior.reference_widths)[:, prior.part],
            np.repeat(prior.starting(rows.lines), noises, axis=0),
            np.repeat(rows.kind, noises),
            (rows.log_prior[:, None] - 0.5 * _NOISE_STEPS**2).ravel(),
        )


def adapt(prior: LatencyPrior, features: Floats, latency_ms: Floats, typical: Floats) -> tuple[Posterior, Beliefs]:
    """The posterior after measuring `latency_ms` `[n]` of architectures with `features` `[n, F]`, and who is believed.

    `typical` `[P]` is the mean of the basis over typical networks, on which relative latency is 1. Latencies that
    are all whole milliseconds are taken as rounded to them.
    """
    mean, columns = prior.basis(features)
    scale = float(np.exp(np.median(np.log(latency_ms / np.maximum(mean, _FLOOR)))))
    rounded = len(latency_ms) > 1 and bool(np.all(latency_ms == np.round(latency_ms)))
    grid = _Grid.of(prior)
    kernel = np.einsum("hk,knm->hnm", grid.widths, prior.kernels(columns))
    expected = mean + grid.start @ columns.T
    floor, predicted = 0.0, np.maximum(mean, latency_ms / scale)
    for _ in range(_SCALE_STEPS):
        relative = latency_ms / scale
        floor = _ROUNDING_VARIANCE / scale**2 if rounded else 0.0
        variance = grid.noise[:, None] * prior.noise_shape(predicted) + floor
        inverse, trust, log_evidence = _robust(kernel, variance, relative - expected)
        solved = (inverse @ (relative - expected)[:, :, None])[:, :, 0]
        log_weights = grid.log_prior + log_evidence
        weights = np.exp(log_weights - log_weights.max())
        weights /= weights.sum()
        coefficients = weights @ (grid.start + grid.factor * (solved @ columns))
        predicted = mean + columns @ coefficients
        # On typical networks relative latency is 1 by definition; a wrong scale shows there.
        scale *= float(np.clip(1 + typical @ coefficients, 0.5, 2.0))
    deviation = (inverse @ (latency_ms / scale - expected)[:, :, None])[:, :, 0]
    by_point = grid.start + grid.factor * (deviation @ columns)
    coefficients = weights @ by_point
    likely = weights > _LIKELY * weights.max()
    directions, signs = _changes(
        prior.part,
        columns,
        grid.widths[likely] / prior.reference_widths,
        inverse[likely],
        by_point[likely],
        grid.start[likely],
        weights[likely] / weights[likely].sum(),
    )
    typical_noise = float(weights @ np.sqrt(grid.noise)) ** 2
    kinds = np.asarray(np.bincount(grid.kind, weights), dtype=np.float64)
    held = np.equal.outer(np.arange(len(kinds)), grid.kind) * weights
    by_kind = held @ by_point / np.maximum(kinds, 1e-300)[:, None]
    spread = prior.spread_after(len(latency_ms), float(kinds[ALONE]))
    spread *= _own_spread(deviation, inverse, variance, trust, log_weights)
    posterior = Posterior(
        coefficients, weights @ grid.factor, directions, signs, typical_noise, floor, scale, spread, kinds, by_kind
    )
    return posterior, Beliefs.of(grid.kind, weights, grid.factor, grid.noise, None)


def _robust(kernel: Floats, variance: Floats, target: Floats) -> tuple[Floats, Floats, Floats]:
    """Each grid point's inverse covariance `[H, n, n]`, how much each row counts `[H, n]`, and log evidence `[H]`."""
    weight = np.ones_like(variance)
    identity = np.eye(target.shape[1])
    for _ in range(_ROBUST_STEPS):
        effective = variance / weight
        inverse = np.linalg.inv(kernel + effective[:, :, None] * identity)
        solved = (inverse @ target[:, :, None])[:, :, 0]
        residual = effective * solved
        uncertain = effective - effective**2 * np.diagonal(inverse, axis1=1, axis2=2)
        weight = (_FREEDOM + 1) / (_FREEDOM + (residual**2 + uncertain) / variance)
    log_evidence = log_marginal_likelihood((solved * target).sum(axis=1), -np.linalg.slogdet(inverse)[1])
    # Weights are scales of the noise drawn from their own prior, whose density counts too.
    log_evidence = log_evidence + (0.5 * _FREEDOM * (np.log(weight) - weight)).sum(axis=1)
    return np.asarray(inverse), variance / effective, np.asarray(log_evidence)


def _own_spread(deviation: Floats, inverse: Floats, variance: Floats, trust: Floats, log_weights: Floats) -> float:
    """By how much errors of the measured rows, each predicted without itself, exceed their standard deviations.

    A row's error and variance without it are in the inverse covariance (Rasmussen and Williams, 2006, 5.4.2), and so
    is what it said for and against each grid point, which is taken back. A mean over few rows, it is drawn towards 1.
    """
    held = np.diagonal(inverse, axis1=1, axis2=2)
    error = deviation / held
    said = 0.5 * np.log(held) - 0.5 * error**2 * held + 0.5 * _FREEDOM * (np.log(trust) - trust)
    without = log_weights[:, None] - said
    without = np.exp(without - without.max(axis=0))
    without /= without.sum(axis=0)
    mean = (without * error).sum(axis=0)
    known = (without * (1 / held - variance / trust + np.square(error - mean))).sum(axis=0)
    noise = TAIL * np.square((without * np.sqrt(variance)).sum(axis=0))
    squared = np.square(mean) / (known + noise)
    return float(np.sqrt((_OWN_SPREAD + np.minimum(squared, 9.0).sum()) / (_OWN_SPREAD + len(squared))))


def _changes(
    part: NDArray[np.int64],
    columns: Floats,
    relative: Floats,
    inverse: Floats,
    by_point: Floats,
    start: Floats,
    weights: Floats,
) -> tuple[Floats, Floats]:
    """What measurements, and the grid points' disagreement, change of the variance: directions `[R, P]`, signs `[R]`.

    Grid points scale the parts of the basis differently, and so all lie in the span of the parts one by one, which
    have no coefficient in common, and of what hypotheses start from: an orthonormal basis of each is one of all.
    """
    mean = weights @ by_point
    spanning = np.concatenate([columns, np.unique(start, axis=0)])
    blocks, of_block = [], []
    for number in range(relative.shape[1]):
        own = part == number
        if not own.any():
            continue
        _, singular, rows = np.linalg.svd(spanning[:, own], full_matrices=False)
        rows = rows[singular > 1e-9 * max(singular[0], 1e-12)]
        block = np.zeros((len(rows), len(part)))
        block[:, own] = rows
        blocks.append(block)
        of_block += [number] * len(rows)
    basis = np.concatenate(blocks)
    seen = columns @ basis.T
    apart = np.sqrt(weights)[:, None] * ((by_point - mean) @ basis.T)
    inside = apart.T @ apart
    for point, weight in enumerate(weights):
        scaled = seen * relative[point, of_block]
        inside -= weight * (scaled.T @ inverse[point] @ scaled)
    values, vectors = np.linalg.eigh(inside)
    kept = np.abs(values) > 1e-6 * np.abs(values).max()
    return vectors[:, kept].T @ basis, values[kept]
