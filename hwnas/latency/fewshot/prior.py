"""What other devices teach about latency: a Gaussian prior over the latency of any architecture on a new device.

Relative latency (in units of the device's mean over typical networks) is linear in an architecture's features:

    h(x) = l(x) + a · m(x) + b + c · (m(x) - 1) + sum over figures i of a_i · (f_i(x) - 1)
         + sum over devices d of c_d · (h_d(x) - m(x)) + sum over groups g of w_g · φ_g(x)

with h_d the latency of training device d as a regression on its own measurements predicts it, m their mean, f_i what
the network costs without a measurement, l a line that a hypothesis expects, and normal priors over the coefficients.
Seen as functions, this is a Gaussian process over features made of the training devices' predicted latencies and of the
architecture's own operators. Hypotheses (`Hypotheses`) differ in l and in the priors' widths; the widths where devices
teach are those under which training devices, each left out in turn together with those much like it, are most likely
(empirical Bayes).

Shapes: N architectures, n rows measured on training devices, D training devices, F features, P coefficients, C figures,
K parts of the coefficients, E rows of hypotheses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwnas.latency.fewshot.features import Groups
from hwnas.latency.fewshot.hypotheses import COST, DEVICES, GROUPS, Hypotheses, hypotheses
from hwnas.spaces.space import Floats

__all__ = [
    "DEFAULT_NOISE", "FLOOR", "MIN_DEVICES", "SPREAD_COUNTS", "LatencyPrior", "joined", "least_like", "of_devices",
    "taught_by_none", "without",
]  # fmt: skip

MIN_DEVICES = 2
SPREAD_COUNTS = (3, 5, 10, 20)
"""Numbers of measurements at which `LatencyPrior.spread` is known."""

FLOOR = 0.1  # of relative latency, where it scales noise or is divided by
_ALIKE = 0.97
DEFAULT_NOISE = (np.log(1e-3), 2.0)


@dataclass(frozen=True)
class LatencyPrior:
    """The prior as arrays. Features are standardised by `centre` and `scale` `[F]`; `group` `[F]` numbers their group.

    `devices` `[D, 1 + F]`: each training device's relative latency as constant and coefficients; `costs` `[C, 1 + F]`:
    what networks cost without a measurement, likewise. `mean` `[1 + F]`: m. `widths` `[., K]`: variances of the
    coefficients of the mean, the constant, the stretch, the figures and the devices, then of each group's; one row for
    what all training devices share, and one for each left-out device by itself. `alone` `[., K]`: where no device
    teaches; `alone_lines` `[., 1 + F]` and `alone_log`: the line that each expects, and the logarithm of its weight
    among these. `groups` `[., D]`: which devices are alike.
    `noise`: mean and standard deviation of the logarithm of the noise variance, relative to latency². `spread`
    `[2, .]`: by how much standard deviations have to be multiplied for 90 % intervals to hold on left-out devices where
    none teaches, and where some do, after each of `SPREAD_COUNTS` measurements.
    """

    centre: Floats
    scale: Floats
    group: NDArray[np.int64]
    devices: Floats
    costs: Floats
    mean: Floats
    widths: Floats
    alone: Floats
    alone_lines: Floats
    alone_log: Floats
    groups: Floats
    noise: Floats
    spread: Floats

    @property
    def part(self) -> NDArray[np.int64]:
        """Which column of `widths` each coefficient has its variance from, `[P]`."""
        lines = [np.full(len(self.costs), COST), np.full(len(self.devices), DEVICES)]
        return np.asarray(np.concatenate([np.arange(COST), *lines, GROUPS + self.group]))

    @property
    def hypotheses(self) -> Hypotheses:
        """What may be true of a new device, as rows of a grid."""
        if not len(self.devices):
            return hypotheses(self.alone, self.alone_lines, self.alone_log)
        like = self.groups @ self.devices / self.groups.sum(axis=1, keepdims=True)
        return hypotheses(self.alone, self.alone_lines, self.alone_log, self.widths, self.mean, like)

    @property
    def reference_widths(self) -> Floats:
        """The variances `[K]` that the basis is scaled by: the mean over the rows that count."""
        rows = np.concatenate([self.widths, self.alone]) if len(self.devices) else self.alone
        return np.asarray(np.maximum(rows.mean(axis=0), 1e-6))

    @property
    def unit(self) -> Floats:
        """The standard deviations `[P]` that the basis is scaled by: figures and devices share their width."""
        part = self.part
        share = np.where(part < GROUPS, np.bincount(part)[part], 1)
        return np.asarray(np.sqrt(self.reference_widths[part] / share))

    def spread_after(self, measurements: int, alone: float) -> float:
        """`spread` after so many measurements, between known ones linear in their logarithm.

        `alone`: how probable it is that no device teaches.
        """
        counts = np.log(SPREAD_COUNTS)
        own = [float(np.interp(np.log(measurements), counts, row)) for row in self.spread]
        return alone * own[0] + (1 - alone) * own[1]

    def basis(self, features: Floats) -> tuple[Floats, Floats]:
        """m `[N]`, and what coefficients in units of `unit` multiply, `[N, P]`, for `features` `[N, F]`."""
        inputs = (features - self.centre) * self.scale
        mean = self.mean[0] + inputs @ self.mean[1:]
        lines = np.concatenate([self.costs, self.devices - self.mean])
        columns = lines[:, 0] + inputs @ lines[:, 1:].T
        columns[:, : len(self.costs)] -= 1
        own = np.stack([mean, np.ones(len(inputs)), mean - 1], axis=1)
        return mean, np.concatenate([own, columns, inputs], axis=1) * self.unit

    def collapsed(self, coefficients: Floats) -> tuple[float, Floats]:
        """Constant and weights `[F]` with which features give `mean + basis · coefficients`, in one product."""
        scaled = coefficients * self.unit
        of_costs, of_devices, of_features = np.split(scaled[COST:], np.cumsum([len(self.costs), len(self.devices)]))
        line = self.mean * (1 + scaled[0] + scaled[2]) + of_costs @ self.costs + of_devices @ (self.devices - self.mean)
        line[0] += scaled[1] - scaled[2] - of_costs.sum()
        line[1:] += of_features
        weights = line[1:] * self.scale
        return float(line[0] - self.centre @ weights), weights

    def starting(self, lines: Floats) -> Floats:
        """The coefficients `[E, P]` with which the basis gives `lines` `[E, 1 + F]` in place of m."""
        off = lines - self.mean
        held = np.zeros((len(lines), len(self.unit)))
        held[:, 1], held[:, -len(self.group) :] = off[:, 0], off[:, 1:]
        return held / self.unit

    def kernels(self, columns: Floats) -> Floats:
        """Covariances `[K, n, n]` that each part, at a width of 1, gives rows of a basis `[n, P]`."""
        own = [columns[:, self.part == number] for number in range(self.alone.shape[1])]
        products = np.stack([part @ part.T for part in own])
        return np.asarray(products / self.reference_widths[:, None, None])

    @staticmethod
    def noise_shape(relative: Floats) -> Floats:
        """What the noise variance is multiplied by: the square of the relative latency."""
        return np.square(np.maximum(relative, FLOOR))


def joined(groups: Groups) -> Floats:
    """The groups side by side, `[N, F]`."""
    return np.concatenate(list(groups.values()), axis=1)


def without(prior: LatencyPrior, device: int, features: Floats) -> LatencyPrior:
    """The prior without a training device and those whose predictions correlate with its by more than 0.97."""
    alike = _likeness(prior, prior.devices, features)[device] > _ALIKE
    alike[device] = True
    if alike.all():
        alike = np.arange(len(prior.devices)) == device
    return of_devices(prior, prior.devices[~alike], features)


def least_like(prior: LatencyPrior, others: LatencyPrior, device: int, features: Floats) -> LatencyPrior:
    """`others` with the half of its devices, at least `MIN_DEVICES`, that is least like a device of `prior`."""
    both = np.concatenate([prior.devices[device][None], others.devices])
    likeness = _likeness(prior, both, features)[0, 1:]
    kept = np.sort(np.argsort(likeness)[: max(MIN_DEVICES, len(likeness) // 2)])
    return of_devices(others, others.devices[kept], features)


def taught_by_none(prior: LatencyPrior) -> LatencyPrior:
    """The prior where no device teaches anything."""
    none = np.zeros((0, prior.devices.shape[1]))
    flat = np.zeros(prior.devices.shape[1])
    flat[0] = 1.0
    return replace(prior, devices=none, mean=flat, groups=np.zeros((0, 0)), noise=np.array(DEFAULT_NOISE))


def of_devices(prior: LatencyPrior, devices: Floats, features: Floats) -> LatencyPrior:
    """`prior` as taught by `devices`: their mean, and groups of them that are alike, each by its first device."""
    likeness = _likeness(prior, devices, features)
    first: list[int] = []
    members: list[list[int]] = []
    for device, row in enumerate(likeness):
        joins = [number for number, leader in enumerate(first) if row[leader] > _ALIKE]
        if joins:
            members[joins[0]].append(device)
        else:
            first.append(device)
            members.append([device])
    groups = np.stack([np.isin(np.arange(len(devices)), own) for own in members]).astype(np.float64)
    return replace(prior, devices=devices, mean=devices.mean(axis=0), groups=groups)


def _likeness(prior: LatencyPrior, devices: Floats, features: Floats) -> Floats:
    """Correlations `[D, D]` of what devices are predicted to take; 0 with one that takes the same for all."""
    inputs = (features - prior.centre) * prior.scale
    predicted = inputs @ devices[:, 1:].T
    predicted -= predicted.mean(axis=0)
    size = np.sqrt(np.square(predicted).sum(axis=0))
    return np.asarray(predicted.T @ predicted / np.maximum(np.outer(size, size), 1e-12))
