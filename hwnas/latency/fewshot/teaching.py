"""How a prior is learnt from devices that were measured before (empirical Bayes; see `hwnas.latency.fewshot.prior`).

Shapes: N architectures, n rows measured on training devices, D training devices, F features, C figures of cost.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.fewshot.evidence import maximise_evidence
from hwnas.latency.fewshot.features import cost_figures, feature_groups
from hwnas.latency.fewshot.hypotheses import COST, DEVICES, assumed_widths
from hwnas.latency.fewshot.prior import (
    DEFAULT_NOISE,
    FLOOR,
    MIN_DEVICES,
    LatencyPrior,
    joined,
    of_devices,
    without,
)  # fmt: skip
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["fit_prior"]

_EVIDENCE_ROWS = 300
_BATCH_ROWS, _BATCHES_PER_DEVICE = 100, 2
_ROWS_PER_FEATURE, _COST_RIDGE = 5, 1e-3
_ASSUMED_NOISES = 2
_DEFAULT_SPREAD = (1.1, 1.1, 1.1, 1.1)  # where no device is left out: as it comes out on published ones
_START_WIDTHS = (0.2, 0.1, 0.05, 0.3, 0.01)  # of the mean, the constant, the stretch, the devices, and each group


def fit_prior(space: Space, genotypes: Genotypes, latency_ms: Floats, rng: np.random.Generator) -> LatencyPrior:
    """The prior that `latency_ms` `[n, D]` of `genotypes` `[n, G]` teaches, NaN where a device did not measure a row.

    With fewer than `MIN_DEVICES` devices nothing can be learnt about how devices differ: then the prior holds the
    architecture's features and costs alone (`genotypes` being typical networks, and `latency_ms` unused).
    """
    groups = feature_groups(space)(genotypes)
    features = joined(groups)
    sizes = [part.shape[1] for part in groups.values()]
    group = np.repeat(np.arange(len(sizes)), sizes)
    centre = features.mean(axis=0)
    energy = np.bincount(group, weights=((features - centre) ** 2).mean(axis=0))
    scale = 1 / np.sqrt(np.maximum(energy, 1e-12))[group]
    inputs = (features - centre) * scale
    costs = _cost_lines(space, genotypes, centre, scale)
    alone, alone_lines, alone_log = assumed_widths(list(groups), costs)
    flat = np.zeros(1 + len(group))
    flat[0] = 1.0
    nothing = np.zeros((0, 1 + len(group)))
    alike = np.zeros((0, 0))
    prior = LatencyPrior(
        centre, scale, group, nothing, costs, flat, alone[:1], alone, alone_lines, alone_log, alike,
        np.array(DEFAULT_NOISE), np.array([_DEFAULT_SPREAD, _DEFAULT_SPREAD]),
    )  # fmt: skip
    if latency_ms.shape[1] < MIN_DEVICES:
        return prior
    known = ~np.isnan(latency_ms.T)
    devices = np.stack(
        [
            _device_weights(inputs[own], group, costs, column[own], rng)
            for column, own in zip(latency_ms.T, known, strict=True)
        ]
    )
    devices /= devices[:, :1]  # relative to the mean over all rows, whichever a device measured
    prior = of_devices(prior, devices, features)
    widths, noise = _learnt_widths(prior, features, latency_ms, rng)
    return replace(prior, widths=widths, noise=noise)


def _cost_lines(space: Space, genotypes: Genotypes, centre: Floats, scale: Floats) -> Floats:
    """What networks cost, whose means over `genotypes` are 1, as constant and coefficients `[C, 1 + F]`.

    Costs need no measurement, so that where `genotypes` are few for so many features, the space's own networks show
    how costs follow from these: the lines would be several percent wrong on others.
    """
    drawn = max(_ROWS_PER_FEATURE * len(centre) - len(genotypes), 0)
    rows = np.concatenate([genotypes, space.sample(drawn, np.random.default_rng(0))])
    figures = cost_figures(space, rows)
    if not figures.shape[1]:
        return np.zeros((0, 1 + len(centre)))
    figures = figures / np.maximum(figures[: len(genotypes)].mean(axis=0), 1e-12)
    inputs = np.insert((joined(feature_groups(space)(rows)) - centre) * scale, 0, 1.0, axis=1)
    ridge = np.full(inputs.shape[1], _COST_RIDGE * len(inputs))
    ridge[0] = 0.0
    return np.asarray(np.linalg.solve(inputs.T @ inputs + np.diag(ridge), inputs.T @ figures).T)


def _device_weights(
    inputs: Floats, group: NDArray[np.int64], costs: Floats, latency_ms: Floats, rng: np.random.Generator
) -> Floats:
    """Constant and coefficients `[1 + F]` of one device's relative latency; rows far off are left out.

    What networks cost is a group of its own, so that few rows of many features say what latency rises with.
    """
    into = np.concatenate([costs[:, 1:], np.eye(len(group))])  # what one coefficient adds to each feature's
    part = np.concatenate([np.zeros(len(costs), dtype=np.int64), group + bool(len(costs))])
    target = latency_ms / latency_ms.mean() - 1
    centre = inputs.mean(axis=0)
    columns = (inputs - centre) @ into.T
    rows = np.sort(rng.permutation(len(target))[:_EVIDENCE_ROWS])
    kernels = np.stack([columns[rows][:, part == g] @ columns[rows][:, part == g].T for g in range(part.max() + 1)])
    start = np.full(len(kernels) + 1, 0.02)
    variances, noise = maximise_evidence(
        kernels[None], target[None, rows], np.ones((1, len(rows))), np.zeros(1, dtype=np.int64), start, 40
    )
    scaled = columns * np.sqrt(variances[part])
    kept = np.ones(len(target), dtype=bool)
    constant, weights = 0.0, np.zeros(columns.shape[1])
    for _ in range(3):
        used, wanted = scaled[kept], target[kept]
        constant = float(wanted.mean())
        gram = used.T @ used + (noise[0] + 1e-9) * np.eye(used.shape[1])
        weights = np.sqrt(variances[part]) * np.linalg.solve(gram, used.T @ (wanted - constant))
        off = np.abs(target - constant - columns @ weights)
        kept = off < 6 * 1.4826 * np.median(off) + 0.02
    found = weights @ into
    return np.asarray(np.r_[1 + constant - centre @ found, found])


def _learnt_widths(
    prior: LatencyPrior, features: Floats, latency_ms: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Widths and the noise's prior, under which left-out training devices are most likely: all together, and each."""
    kernels, targets, shapes, numbers = [], [], [], []
    learnt = np.arange(prior.widths.shape[1]) != COST  # figures teach nothing that devices don't
    parts = int(learnt.sum())
    start = _START_WIDTHS[:DEVICES] + (_START_WIDTHS[DEVICES],) * (parts - DEVICES)
    known = ~np.isnan(latency_ms)
    batch_rows = min(_BATCH_ROWS, int(known.sum(axis=0).min()))
    for device in range(latency_ms.shape[1]):
        own = without(prior, device, features)
        mean, columns = own.basis(features)
        ratio = latency_ms[:, device] / np.maximum(mean, FLOOR)
        target = latency_ms[:, device] / np.nanmedian(ratio) - mean
        for _ in range(_BATCHES_PER_DEVICE):
            rows = rng.permutation(np.flatnonzero(known[:, device]))[:batch_rows]
            kernels.append(own.kernels(columns[rows])[learnt])
            targets.append(target[rows])
            shapes.append(own.noise_shape(mean[rows]))
            numbers.append(device)
    stacked = (np.stack(kernels), np.stack(targets), np.stack(shapes))
    of_device = np.array(numbers)
    shared, noise = maximise_evidence(*stacked, of_device, np.r_[start, 1e-3], 60)
    found = [shared]
    for device in range(latency_ms.shape[1]):
        mine = of_device == device
        first = np.r_[np.maximum(shared, 0.003), noise[device]]
        own_widths, own_noise = maximise_evidence(
            stacked[0][mine], stacked[1][mine], stacked[2][mine], np.zeros(int(mine.sum()), dtype=np.int64), first, 60
        )
        found.append(own_widths)
        noise[device] = own_noise[0]
    widths = np.insert(np.maximum(np.stack(found), _least(parts)), COST, 0.0, axis=1)
    return widths, _noise_of_new_devices(np.log(noise), prior.groups)


def _noise_of_new_devices(logarithms: Floats, groups: Floats) -> Floats:
    """Mean and standard deviation of the logarithm of a new device's noise, of those of known ones `[D]`.

    Devices that are alike `[., D]` tell as much as one of them; what is assumed without any counts for two more.
    """
    known = groups @ logarithms / groups.sum(axis=1)
    values = np.r_[known, np.full(_ASSUMED_NOISES, DEFAULT_NOISE[0])]
    spread = np.r_[np.zeros(len(known)), np.full(_ASSUMED_NOISES, DEFAULT_NOISE[1])]
    return np.array([values.mean(), np.sqrt(values.var() + np.square(spread).mean())])


def _least(parts: int) -> Floats:
    """Below these widths nothing is learnt: a left-out device's scale was known, a new one's is not."""
    return np.asarray(np.r_[0.1, 0.03, 0.03, 0.05, np.full(parts - DEVICES, 1e-6)])
