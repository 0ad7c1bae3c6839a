"""Gaussian process regression (Rasmussen and Williams, 2006) with hyperparameters by marginal likelihood.

Shapes: N architectures to predict, n training rows, F features, P feature groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from hwnas.accuracy.features import Layout
from hwnas.gaussian import likelihood_slopes, log_determinant, log_marginal_likelihood, most_probable
from hwnas.spaces.space import Floats

__all__ = ["GaussianProcess"]

_JITTER = 1e-6
_CHUNK = 4096


class GaussianProcess:
    """Sum of a linear and a Matérn-5/2 kernel, each with one scale a feature group, and noise.

    The linear part carries additive effects far from the training rows, the Matérn part what blocks do together.
    Everything is kept as arrays (`arrays`), in units of standardised labels.
    """

    def __init__(self, arrays: dict[str, Floats]) -> None:
        self.arrays = arrays
        self._centre = arrays["centre"]
        self._linear_scale = arrays["linear_scale"]
        self._distance_scale = arrays["distance_scale"]
        self._matern, self._noise, self._mean, self._spread = arrays["scalars"]
        self._near = arrays["inputs"] * self._distance_scale
        self._near_squares = (self._near**2).sum(axis=1)
        self._far = arrays["inputs"] * self._linear_scale
        self._weights = arrays["weights"]
        # The linear part of the mean is one vector, however many rows there are.
        self._slope = self._linear_scale * (self._far.T @ self._weights)
        self._factor = arrays["factor"]

    @classmethod
    def fit(
        cls,
        features: Floats,
        labels: Floats,
        layout: Layout,
        max_iterations: int,
        hyperparameter_rows: int,
        rng: np.random.Generator,
    ) -> GaussianProcess:
        """Fit to `features` `[n, F]` and `labels` `[n]`; hyperparameters on a random part where rows are many."""
        centre = features.mean(axis=0)
        scale = _scale(features - centre, layout)
        inputs = (features - centre) * scale
        mean, spread = float(labels.mean()), float(labels.std())
        targets = (labels - mean) / spread
        part = np.arange(len(labels))
        if len(part) > hyperparameter_rows:
            part = np.sort(rng.choice(len(part), hyperparameter_rows, replace=False))
        linear, distance, matern, noise = _maximise_likelihood(inputs[part], targets[part], layout, max_iterations)
        linear_scale, distance_scale = np.sqrt(linear)[layout.group], np.sqrt(distance)[layout.group]
        far, near = inputs * linear_scale, inputs * distance_scale
        squares = (near**2).sum(axis=1)
        kernel = far @ far.T + matern * _matern(squares[:, None] + squares - 2 * near @ near.T)
        factor = cholesky(kernel + (noise + _JITTER) * np.eye(len(labels)), lower=True)
        return cls(
            {
                "centre": centre,
                "scale": scale,
                "inputs": inputs,
                "linear_scale": linear_scale,
                "distance_scale": distance_scale,
                "scalars": np.array([matern, noise, mean, spread]),
                "weights": cho_solve((factor, True), targets),
                "factor": factor,
            }
        )

    def predict(self, features: Floats, with_std: bool) -> tuple[Floats, Floats | None]:
        """Mean `[N]`, and the standard deviation of a measurement `[N]`, noise included, where asked for."""
        mean, std = np.empty(len(features)), np.empty(len(features))
        for start in range(0, len(features), _CHUNK):
            rows = slice(start, start + _CHUNK)
            inputs = (features[rows] - self._centre) * self.arrays["scale"]
            near = inputs * self._distance_scale
            squares = (near**2).sum(axis=1)[:, None] + self._near_squares
            kernel = self._matern * _matern(squares - 2 * near @ self._near.T)
            mean[rows] = kernel @ self._weights + inputs @ self._slope
            if with_std:
                far = inputs * self._linear_scale
                explained = solve_triangular(self._factor, (kernel + far @ self._far.T).T, lower=True)
                prior = self._matern + (far**2).sum(axis=1)
                std[rows] = np.sqrt(np.maximum(prior - (explained**2).sum(axis=0), 0) + self._noise)
        return self._mean + self._spread * mean, self._spread * std if with_std else None


def _scale(centred: Floats, layout: Layout) -> Floats:
    """`[F]`: gives every unit (gene) unit variance, then every group a mean squared norm of 1.

    A unit that doesn't vary in training keeps its own scale: it then tells nothing, but tells distance.
    """
    scale = np.ones(centred.shape[1])
    for ids, target in ((layout.unit, 1.0), (layout.group, 1.0)):
        squares = np.bincount(ids, weights=((centred * scale) ** 2).mean(axis=0))
        factors = np.sqrt(target / np.where(squares > 1e-12, squares, target))
        scale = scale * factors[ids]
    return scale


def _matern(squared_distance: Floats) -> Floats:
    distance = np.sqrt(5 * np.maximum(squared_distance, 0))
    result: Floats = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return result


def _maximise_likelihood(
    inputs: Floats, targets: Floats, layout: Layout, max_iterations: int
) -> tuple[Floats, Floats, float, float]:
    """Linear variances `[P]`, inverse squared length scales `[P]`, Matérn variance, noise variance.

    Maximum a posteriori in logarithms, with a Gaussian prior a few octaves wide: with few rows, and many groups, the
    likelihood alone is happy to explain everything by one group.
    """
    rows, groups = len(targets), int(layout.group.max()) + 1
    linear: NDArray[np.float64] = np.empty((groups, rows, rows))
    squared = np.empty_like(linear)
    for group in range(groups):
        part = inputs[:, layout.group == group]
        linear[group] = part @ part.T
        norms = np.diag(linear[group])
        squared[group] = np.maximum(norms[:, None] + norms - 2 * linear[group], 0)
    centre = np.log([*[1 / groups] * groups, *[0.25 / groups] * groups, 0.3, 0.03])
    width = np.array([1.0] * (2 * groups) + [2.0, 2.0])
    identity = np.eye(rows)

    def loss(theta: Floats) -> tuple[float, Floats]:
        a, w = np.exp(theta[:groups]), np.exp(theta[groups : 2 * groups])
        matern, noise = np.exp(theta[-2:])
        distance = np.sqrt(5 * np.tensordot(w, squared, axes=1))
        decay = np.exp(-distance)
        shape = (1 + distance + distance**2 / 3) * decay
        kernel = np.tensordot(a, linear, axes=1) + matern * shape + (noise + _JITTER) * identity
        factor = cholesky(kernel, lower=True)
        weights = cho_solve((factor, True), targets)
        value = -log_marginal_likelihood(float(targets @ weights), log_determinant(factor))
        outer = likelihood_slopes(cho_solve((factor, True), identity), weights)
        slope = -matern * (5 / 6) * (1 + distance) * decay  # d(matern * shape) / d(squared distance)
        gradient = np.concatenate(
            [
                a * np.tensordot(linear, outer, axes=2),
                w * np.tensordot(squared, outer * slope, axes=2),
                [matern * (outer * shape).sum(), noise * np.trace(outer)],
            ]
        )
        return value, gradient

    # The bounds keep the kernel's condition number within what a Cholesky factor bears.
    bounds = [(-12.0, 5.0)] * (2 * groups + 1) + [(-10.0, 2.0)]
    values = most_probable(loss, centre, width, bounds, max_iterations)
    return values[:groups], values[groups : 2 * groups], float(values[-2]), float(values[-1])
