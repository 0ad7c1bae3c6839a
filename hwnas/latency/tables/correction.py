"""What operators cost inside a network, from whole networks, with what they cost alone as the prior.

A sum over operators measured alone is off: each alone pays the call once and has its caches to itself, and a runtime
fuses and lays out differently in a network. Whole networks say what the sum should be, but hold no operator often
enough for plain regression. So: Bayesian linear regression (Bishop, Pattern Recognition and Machine Learning, 3.3),

    y_n = m(W_n) · sum over operators o of C_no · θ_o + ε_n,      ε_n ~ N(0, (σ · y_n)²)
    θ_o = x_o · (α + sum over fields f of a_f[value of o] + δ_o) + β_kind(o)
    m(W) = 1 + gain · logistic((ln W - ln threshold) / width)

with x the isolated costs, W the network's parameters, and normal priors (α around 1; a, δ and β around 0). m is the
slowdown of networks whose weights outgrow a cache; without it small networks are off by 5-10 % in one direction and
large ones in the other. The priors' widths, σ and m maximise the marginal likelihood; θ is the mode under θ ≥ 0.

Shapes: N networks, O operators, P coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import lsq_linear, minimize
from scipy.special import expit

from hwnas.operators import Operator

__all__ = ["NO_SLOWDOWN", "Correction", "Slowdown", "cross_validate", "fit_correction"]

Floats = NDArray[np.float64]
Numbers = NDArray[np.float64] | NDArray[np.int64]

_ALPHA_WIDTH = 0.5
_MEAN_GAIN = 0.1
_START = np.log([0.05, 0.05, 0.3, 0.02])
_BOUNDS = np.log([(1e-3, 1.0), (1e-3, 1.0), (1e-3, 10.0), (2e-3, 1.0)])
_GAIN_BOUNDS, _WIDTH_BOUNDS = np.log([(1e-3, 3.0), (0.1, 1.0)])


@dataclass(frozen=True)
class Slowdown:
    """What a network's latency is multiplied by as its weights outgrow a cache: m above."""

    gain: float
    threshold: float
    width: float

    def factor(self, parameters: Numbers) -> Floats:
        """m for networks with these numbers of parameters, 1 to 1 + gain."""
        return np.asarray(
            1 + self.gain * expit((np.log(np.maximum(parameters, 1)) - np.log(self.threshold)) / self.width)
        )


NO_SLOWDOWN = Slowdown(gain=0.0, threshold=1.0, width=1.0)


@dataclass(frozen=True)
class Correction:
    """In-network costs `operator_ms` `[O]`, the slowdown, and `noise`, the relative standard deviation σ above."""

    operator_ms: Floats
    slowdown: Slowdown
    noise: float

    def predict(self, counts: Floats, parameters: Floats) -> Floats:
        """Latency in ms, `[N]`, of networks that hold operators `counts` `[N, O]` times and have `parameters` `[N]`."""
        return np.asarray(self.slowdown.factor(parameters) * (counts @ self.operator_ms))


@dataclass(frozen=True)
class _Data:
    """The regression's inputs. `design` `[O, P]` maps coefficients to operator costs; `group` `[P]` picks a width."""

    design: Floats
    group: NDArray[np.int64]  # 0: α, 1: a, 2: δ, 3: β
    mean: Floats
    scale_ms: float
    counts: Floats
    parameters: Floats
    measured_ms: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> _Data:
        kept = (self.counts[chosen], self.parameters[chosen], self.measured_ms[chosen])
        return _Data(self.design, self.group, self.mean, self.scale_ms, *kept)

    def variances(self, widths: Floats) -> Floats:
        by_group = np.array([_ALPHA_WIDTH, widths[0], widths[1], widths[2] * self.scale_ms]) ** 2
        return np.asarray(by_group[self.group])


def fit_correction(
    operators: Sequence[Operator], isolated_ms: Floats, counts: Numbers, parameters: Numbers, measured_ms: Floats
) -> Correction:
    """The correction taught by networks with operator `counts` `[N, O]`, `parameters` `[N]`, `measured_ms` `[N]`.

    `isolated_ms` `[O]` must not be negative. Deterministic. Operators in no network get what the others teach.
    """
    with _one_thread():
        return _fit(_data(operators, isolated_ms, counts, parameters, measured_ms), None)[0]


def cross_validate(
    operators: Sequence[Operator],
    isolated_ms: Floats,
    counts: Numbers,
    parameters: Numbers,
    measured_ms: Floats,
    folds: int,
    rng: np.random.Generator,
) -> Floats:
    """Each network's latency as predicted by a correction fitted without its fold, `[N]` in ms."""
    data = _data(operators, isolated_ms, counts, parameters, measured_ms)
    fold = rng.permutation(len(measured_ms)) % folds
    predicted = np.empty(len(measured_ms))
    start: Floats | None = None
    with _one_thread():
        for number in range(folds):
            held_out = fold == number
            correction, start = _fit(data.rows(~held_out), start)
            predicted[held_out] = correction.predict(data.counts[held_out], data.parameters[held_out])
    return predicted


def _one_thread() -> AbstractContextManager[Any]:
    # A thousand factorisations of small matrices: on a busy machine their threads' waiting makes it 30 s, not 1.
    if find_spec("threadpoolctl") is None:
        return nullcontext()
    limits: AbstractContextManager[Any] = import_module("threadpoolctl").threadpool_limits(1)
    return limits


def _data(
    operators: Sequence[Operator], isolated_ms: Floats, counts: Numbers, parameters: Numbers, measured_ms: Floats
) -> _Data:
    columns: list[Floats] = [isolated_ms]
    groups = [0]
    for values in _traits(operators):
        for value in (
            sorted(set(values), key=lambda value: (type(value).__name__, value)) if len(set(values)) > 1 else ()
        ):
            columns.append(isolated_ms * np.array([own == value for own in values]))
            groups.append(1)
    columns.extend(np.diag(isolated_ms))
    groups += [2] * len(operators)
    kinds = [operator.kind for operator in operators]
    for kind in sorted(set(kinds)):
        columns.append(np.array([own == kind for own in kinds], dtype=np.float64))
        groups.append(3)
    mean = np.zeros(len(columns))
    mean[0] = 1.0
    design = np.stack(columns, axis=1)
    return _Data(
        design,
        np.array(groups),
        mean,
        float(np.median(isolated_ms)),
        np.asarray(counts, dtype=np.float64),
        np.asarray(parameters, dtype=np.float64),
        measured_ms,
    )


def _traits(operators: Sequence[Operator]) -> list[list[Any]]:
    """Every operator's kind, traits and height: a list of each, None where an operator has no such trait."""
    traits = [{"kind": one.kind, **one.traits, "in_height": one.in_height} for one in operators]
    names = dict.fromkeys(name for one in traits for name in one)
    return [[one.get(name) for one in traits] for name in names]


def _fit(data: _Data, start: Floats | None) -> tuple[Correction, Floats]:
    """The correction, and the logarithms of its hyperparameters to start a similar fit from."""
    features = data.counts @ data.design
    prior_ms = features @ data.mean
    # Covariances are sums of one part a group of coefficients, each scaled by its squared width.
    parts = [features[:, data.group == group] for group in range(4)]
    grams = [part @ part.T for part in parts]

    def covariance(logarithms: Floats, target: Floats) -> Floats:
        fields, operators, kinds, noise = np.exp(2 * logarithms[:4])
        total = _ALPHA_WIDTH**2 * grams[0] + fields * grams[1] + operators * grams[2]
        total += kinds * data.scale_ms**2 * grams[3]
        return np.asarray(total + np.diag(noise * np.square(target)))

    def cost(logarithms: Floats) -> float:
        slowdown = _slowdown(logarithms)
        factor = slowdown.factor(data.parameters)
        target = data.measured_ms / factor
        try:
            cholesky = cho_factor(covariance(logarithms, target), lower=True)
        except LinAlgError:
            return 1e12
        residual = target - prior_ms
        likelihood = -0.5 * residual @ cho_solve(cholesky, residual) - np.log(np.diag(cholesky[0])).sum()
        # The density of y, not of y / m; and an exponential prior that keeps m at 1 where nothing speaks for more.
        return float(np.log(factor).sum() - likelihood + slowdown.gain / _MEAN_GAIN)

    smallest, largest = np.log(data.parameters.min()), np.log(data.parameters.max())
    bounds = [*_BOUNDS, _GAIN_BOUNDS, (smallest, max(largest, smallest + 0.1)), _WIDTH_BOUNDS]
    thresholds = np.log(np.quantile(data.parameters, (0.3, 0.7)))
    starts = [start] if start is not None else [np.r_[_START, np.log(0.2), value, np.log(0.3)] for value in thresholds]
    found = min(
        (minimize(cost, first, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100}) for first in starts),
        key=lambda result: float(result.fun),
    )
    best: Floats = found.x
    slowdown = _slowdown(best)
    target = data.measured_ms / slowdown.factor(data.parameters)
    solved = cho_solve(cho_factor(covariance(best, target), lower=True), target - prior_ms)
    widths = np.exp(best[:4])
    variances = data.variances(widths)
    theta = data.design @ (data.mean + variances * (features.T @ solved))
    if (theta < 0).any():
        theta = _nonnegative(data, variances, float(widths[3]), target)
    return Correction(theta, slowdown, float(widths[3])), best


def _slowdown(logarithms: Floats) -> Slowdown:
    gain, threshold, width = np.exp(logarithms[4:])
    return Slowdown(float(gain), float(threshold), float(width))


def _nonnegative(data: _Data, variances: Floats, noise: float, target: Floats) -> Floats:
    """The posterior's mode over θ ≥ 0: bounded least squares, prior and measurements both whitened."""
    spread = (data.design * variances) @ data.design.T
    spread += np.eye(len(spread)) * (1e-9 * np.trace(spread) / len(spread))
    whiten = np.linalg.inv(np.linalg.cholesky(spread))
    weight = 1 / (noise * target)
    rows = np.concatenate([data.counts * weight[:, None], whiten])
    goal = np.concatenate([target * weight, whiten @ (data.design @ data.mean)])
    solution: Floats = lsq_linear(rows, goal, bounds=(0, np.inf)).x
    return solution
