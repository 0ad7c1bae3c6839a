"""The marginal likelihood against scipy's densities and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import check_grad
from scipy.stats import multivariate_normal

from hwnas.gaussian import likelihood_slopes, log_determinant, log_marginal_likelihood, most_probable

Floats = NDArray[np.float64]


def _covariances(count: int) -> Floats:
    factors = np.random.default_rng(0).normal(size=(count, 5, 5))
    return np.asarray(factors @ factors.transpose(0, 2, 1) + np.eye(5), dtype=np.float64)


def _factor(covariance: Floats) -> Floats:
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def _of(covariance: Floats, targets: Floats) -> float:
    fit = float(targets @ np.linalg.solve(covariance, targets))
    return log_marginal_likelihood(fit, log_determinant(_factor(covariance)))


def test_it_is_the_density_of_a_normal_but_for_a_constant() -> None:
    targets = np.random.default_rng(1).normal(size=5)
    for covariance in _covariances(3):
        expected = multivariate_normal(np.zeros(5), covariance).logpdf(targets) + 2.5 * np.log(2 * np.pi)
        assert _of(covariance, targets) == pytest.approx(expected, rel=1e-12)


def test_a_batch_adds_up() -> None:
    covariances = _covariances(4)
    expected = sum(np.linalg.slogdet(covariance)[1] for covariance in covariances)
    assert log_determinant(_factor(covariances)) == pytest.approx(expected, rel=1e-12)


def test_slopes_are_those_of_finite_differences() -> None:
    covariance, targets = _covariances(1)[0], np.random.default_rng(1).normal(size=5)
    inverse = np.linalg.inv(covariance)

    def loss(entries: Floats) -> float:
        return -_of(covariance + np.diag(entries), targets)

    def slopes(entries: Floats) -> Floats:
        inverse = np.linalg.inv(covariance + np.diag(entries))
        return np.diagonal(likelihood_slopes(inverse, inverse @ targets))

    assert check_grad(loss, slopes, np.full(5, 0.1)) < 1e-6
    both = likelihood_slopes(np.stack([inverse, 2 * inverse]), np.stack([targets, 0 * targets]))
    np.testing.assert_allclose(both[0], 0.5 * (inverse - np.outer(targets, targets)))
    np.testing.assert_allclose(both[1], inverse)


def test_the_most_probable_variance_is_the_measured_one() -> None:
    targets = np.random.default_rng(2).normal(0, 3, size=4000)
    squares, rows = float(targets @ targets), len(targets)

    def loss(logarithms: Floats) -> tuple[float, Floats]:
        variance = float(np.exp(logarithms[0]))
        if variance > 50:
            raise np.linalg.LinAlgError
        value = -log_marginal_likelihood(squares / variance, rows * float(logarithms[0]))
        return value, np.array([0.5 * (rows - squares / variance)])

    assert most_probable(loss, np.zeros(1), 4.0, [(-5.0, 9.0)], 100)[0] == pytest.approx(squares / rows, rel=2e-3)
    # A narrow prior holds it where it was believed to be, and bounds hold always.
    assert most_probable(loss, np.zeros(1), 1e-4, [(-5.0, 9.0)], 100)[0] == pytest.approx(1, abs=1e-3)
    assert most_probable(loss, np.zeros(1), 4.0, [(-5.0, 0.5)], 100)[0] == pytest.approx(np.exp(0.5))
