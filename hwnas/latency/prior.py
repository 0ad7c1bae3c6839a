"""What other devices teach about latency: a Gaussian prior over the latency of any architecture on a new device.

Relative latency (in units of the device's mean over typical networks) is linear in an architecture's features:

    h(x) = m(x) + a · m(x) + b + sum over devices d of c_d · (h_d(x) - m(x)) + sum over groups g of w_g · φ_g(x)

with h_d the latency of training device d as a regression on its own measurements predicts it, m their mean, and
normal priors over a, b, c and w. Seen as functions, this is a Gaussian process over features made of the training
devices' predicted latencies and of the architecture's own operators. The priors' widths are those under which
training devices, each left out in turn together with those much like it, are most likely (empirical Bayes).

Shapes: N architectures, n rows measured on training devices, D training devices, F features, P coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.evidence import maximise_evidence
from hwnas.latency.features import Groups, feature_groups
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["MIN_DEVICES", "SPREAD_COUNTS", "LatencyPrior", "fit_prior"]

MIN_DEVICES = 2
SPREAD_COUNTS = (3, 5, 10, 20)
"""Numbers of measurements at which `LatencyPrior.spread` is known."""

_OWN = 3  # coefficients before the devices': mean, constant, and the architecture's cost
_FLOOR = 0.05  # of relative latency, where it scales noise or is divided by
_ALIKE = 0.97
_EVIDENCE_ROWS = 300
_BATCH_ROWS, _BATCHES_PER_DEVICE = 100, 2
# Without devices to learn from: widths as they come out where there are some, rounded up.
_DEFAULT_WIDTHS = {"mean": 0.2, "constant": 0.1, "cost": 0.05, "devices": 0.3, "group": 0.01}
_DEFAULT_NOISE = (np.log(1e-3), 2.0)


@dataclass(frozen=True)
class LatencyPrior:
    """The prior as arrays. Features are standardised by `centre` and `scale` `[F]`; `group` `[F]` numbers their group.

    `devices` `[D, 1 + F]`: each training device's relative latency as constant and coefficients. `mean` `[1 + F]`:
    m as such. `widths` `[E, K]`: variances of the mean's, the constant's, the cost's and the devices' coefficients,
    then of each group's; one row for what all training devices share, and one for each left-out device by itself.
    `noise`: mean and standard deviation of the logarithm of the noise variance, relative to latency².
    `spread`: by how much standard deviations have to be multiplied for 90 % intervals to hold on left-out devices,
    after each of `SPREAD_COUNTS` measurements.
    """

    centre: Floats
    scale: Floats
    group: NDArray[np.int64]
    devices: Floats
    mean: Floats
    widths: Floats
    noise: Floats
    spread: Floats

    @property
    def part(self) -> NDArray[np.int64]:
        """Which column of `widths` each coefficient has its variance from, `[P]`."""
        return np.asarray(np.r_[np.arange(_OWN), np.full(len(self.devices), _OWN), _OWN + 1 + self.group])

    @property
    def reference_widths(self) -> Floats:
        """The variances `[K]` that the basis is scaled by: the mean over the rows of `widths`."""
        return np.asarray(self.widths.mean(axis=0))

    def spread_after(self, measurements: int) -> float:
        """`spread` after so many measurements, between known ones linear in their logarithm."""
        return float(np.interp(np.log(measurements), np.log(SPREAD_COUNTS), self.spread))

    def basis(self, features: Floats) -> tuple[Floats, Floats]:
        """m `[N]`, and what coefficients with unit prior variance multiply, `[N, P]`, for `features` `[N, F]`."""
        inputs = (features - self.centre) * self.scale
        mean = self.mean[0] + inputs @ self.mean[1:]
        apart = self.devices - self.mean
        own = [mean, np.ones(len(inputs)), mean - 1]
        count = np.where(self.part == _OWN, max(len(self.devices), 1), 1)
        columns = np.concatenate([np.stack(own, axis=1), apart[:, 0] + inputs @ apart[:, 1:].T, inputs], axis=1)
        columns *= np.sqrt(self.reference_widths[self.part] / count)
        return mean, columns

    def collapsed(self, coefficients: Floats) -> tuple[float, Floats]:
        """Constant and weights `[F]` with which features give `mean + basis · coefficients`, in one product."""
        count = np.where(self.part == _OWN, max(len(self.devices), 1), 1)
        scaled = coefficients * np.sqrt(self.reference_widths[self.part] / count)
        of_devices, of_groups = scaled[_OWN : _OWN + len(self.devices)], scaled[_OWN + len(self.devices) :]
        line = self.mean * (1 + scaled[0] + scaled[2]) + of_devices @ (self.devices - self.mean)
        line[0] += scaled[1] - scaled[2]
        line[1:] += of_groups
        weights = line[1:] * self.scale
        return float(line[0] - self.centre @ weights), weights

    @staticmethod
    def noise_shape(mean: Floats) -> Floats:
        """What the noise variance is multiplied by: the square of the relative latency."""
        return np.square(np.maximum(mean, _FLOOR))


def joined(groups: Groups) -> Floats:
    """The groups side by side, `[N, F]`."""
    return np.concatenate(list(groups.values()), axis=1)


def fit_prior(space: Space, genotypes: Genotypes, latency_ms: Floats, rng: np.random.Generator) -> LatencyPrior:
    """The prior that `latency_ms` `[n, D]` of `genotypes` `[n, G]` teaches, NaN where a device did not measure a row.

    With fewer than `MIN_DEVICES` devices nothing can be learnt about how devices differ: then the prior holds the
    architecture's features alone, around a mean that rises with MACs where the space knows them (`genotypes` being
    typical networks, and `latency_ms` unused).
    """
    groups = feature_groups(space)(genotypes)
    features = joined(groups)
    sizes = [part.shape[1] for part in groups.values()]
    group = np.repeat(np.arange(len(sizes)), sizes)
    centre = features.mean(axis=0)
    energy = np.bincount(group, weights=((features - centre) ** 2).mean(axis=0))
    scale = 1 / np.sqrt(np.maximum(energy, 1e-12))[group]
    inputs = (features - centre) * scale
    default = _DEFAULT_WIDTHS
    widths = np.array(
        [default["mean"], default["constant"], default["cost"], default["devices"], *[default["group"]] * len(sizes)]
    )
    spread = np.ones(len(SPREAD_COUNTS))
    if latency_ms.shape[1] < MIN_DEVICES:
        mean = _cost_mean(space, genotypes, inputs)
        return LatencyPrior(
            centre, scale, group, np.zeros((0, 1 + len(group))), mean, widths[None], np.array(_DEFAULT_NOISE), spread
        )
    known = ~np.isnan(latency_ms.T)
    devices = np.stack(
        [_device_weights(inputs[own], group, column[own], rng) for column, own in zip(latency_ms.T, known, strict=True)]
    )
    devices /= devices[:, :1]  # relative to the mean over all rows, whichever a device measured
    draft = LatencyPrior(
        centre, scale, group, devices, devices.mean(axis=0), widths[None], np.array(_DEFAULT_NOISE), spread
    )
    widths, noise = _learnt_widths(draft, features, latency_ms, rng)
    return LatencyPrior(centre, scale, group, devices, devices.mean(axis=0), widths, noise, spread)


def without(prior: LatencyPrior, device: int, features: Floats) -> LatencyPrior:
    """The prior without a training device and those whose predictions correlate with its by more than 0.97."""
    inputs = (features - prior.centre) * prior.scale
    predicted = prior.devices[:, 0] + inputs @ prior.devices[:, 1:].T
    alike = np.corrcoef(predicted.T)[device] > _ALIKE
    alike[device] = True
    if alike.all():
        alike = np.arange(len(prior.devices)) == device
    kept = prior.devices[~alike]
    return LatencyPrior(
        prior.centre, prior.scale, prior.group, kept, kept.mean(axis=0), prior.widths, prior.noise, prior.spread
    )


def _cost_mean(space: Space, genotypes: Genotypes, inputs: Floats) -> Floats:
    """m as constant and coefficients: half of a typical network's latency rises with its MACs, where known."""
    mean = np.zeros(1 + inputs.shape[1])
    mean[0] = 1.0
    if space.operators:
        macs = space.macs(genotypes).astype(np.float64)
        gram = inputs.T @ inputs + 1e-3 * len(inputs) * np.eye(inputs.shape[1])
        mean[1:] = np.linalg.solve(gram, inputs.T @ (0.5 * (macs / macs.mean() - 1)))
    return mean


def _device_weights(inputs: Floats, group: NDArray[np.int64], latency_ms: Floats, rng: np.random.Generator) -> Floats:
    """Constant and coefficients `[1 + F]` of one device's relative latency; rows far off are left out."""
    target = latency_ms / latency_ms.mean() - 1
    centre = inputs.mean(axis=0)
    inputs = inputs - centre
    rows = np.sort(rng.permutation(len(target))[:_EVIDENCE_ROWS])
    kernels = np.stack([inputs[rows][:, group == g] @ inputs[rows][:, group == g].T for g in range(group.max() + 1)])
    start = np.full(len(kernels) + 1, 0.02)
    variances, noise = maximise_evidence(
        kernels[None], target[None, rows], np.ones((1, len(rows))), np.zeros(1, dtype=np.int64), start, 40
    )
    scaled = inputs * np.sqrt(variances[group])
    kept = np.ones(len(target), dtype=bool)
    constant, weights = 0.0, np.zeros(inputs.shape[1])
    for _ in range(3):
        part, wanted = scaled[kept], target[kept]
        constant = float(wanted.mean())
        gram = part.T @ part + (noise[0] + 1e-9) * np.eye(part.shape[1])
        weights = np.sqrt(variances[group]) * np.linalg.solve(gram, part.T @ (wanted - constant))
        off = np.abs(target - constant - inputs @ weights)
        kept = off < 6 * 1.4826 * np.median(off) + 0.02
    return np.asarray(np.r_[1 + constant - centre @ weights, weights])


def _learnt_widths(
    prior: LatencyPrior, features: Floats, latency_ms: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Widths and the noise's prior, under which left-out training devices are most likely: all together, and each."""
    kernels, targets, shapes, numbers = [], [], [], []
    reference = prior.reference_widths
    known = ~np.isnan(latency_ms)
    batch_rows = min(_BATCH_ROWS, int(known.sum(axis=0).min()))
    for device in range(latency_ms.shape[1]):
        own = without(prior, device, features)
        mean, columns = own.basis(features)
        ratio = latency_ms[:, device] / np.maximum(mean, _FLOOR)
        target = latency_ms[:, device] / np.nanmedian(ratio) - mean
        for _ in range(_BATCHES_PER_DEVICE):
            rows = rng.permutation(np.flatnonzero(known[:, device]))[:batch_rows]
            parts = [columns[rows][:, own.part == number] for number in range(len(reference))]
            kernels.append(np.stack([part @ part.T / width for part, width in zip(parts, reference, strict=True)]))
            targets.append(target[rows])
            shapes.append(own.noise_shape(mean[rows]))
            numbers.append(device)
    stacked = (np.stack(kernels), np.stack(targets), np.stack(shapes))
    of_device = np.array(numbers)
    shared, noise = maximise_evidence(*stacked, of_device, np.r_[reference, 1e-3], 60)
    found = [shared]
    for device in range(latency_ms.shape[1]):
        mine = of_device == device
        start = np.r_[np.maximum(shared, 0.003), noise[device]]
        own_widths, own_noise = maximise_evidence(
            stacked[0][mine], stacked[1][mine], stacked[2][mine], np.zeros(int(mine.sum()), dtype=np.int64), start, 60
        )
        found.append(own_widths)
        noise[device] = own_noise[0]
    logarithms = np.log(noise)
    return np.maximum(np.stack(found), _least(len(reference))), np.array(
        [logarithms.mean(), max(float(logarithms.std()), 1.0)]
    )


def _least(parts: int) -> Floats:
    """Below these widths nothing is learnt: a left-out device's scale was known, a new one's is not."""
    return np.asarray(np.r_[0.1, 0.03, 0.03, 0.05, np.full(parts - 4, 1e-6)])
