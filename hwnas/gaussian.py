"""The marginal likelihood of Gaussian processes, and its maximum (Rasmussen and Williams, 2006, chapter 5).

Targets t with covariance C have the log marginal likelihood -(t·C⁻¹t + log |C|) / 2, but for a constant. How C is
inverted is its owner's business: one matrix, many small ones at once, or many of which only the inverses are needed.

Shapes: n rows, P hyperparameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

__all__ = ["likelihood_slopes", "log_determinant", "log_marginal_likelihood", "most_probable"]

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, Floats)

_FAILED = 1e12


def log_marginal_likelihood(fit: Number, log_determinant: Number) -> Number:
    """The log marginal likelihood, but for its constant, of `fit` t·C⁻¹t and log |C|; of each, or of all added up."""
    return -0.5 * (fit + log_determinant)


def log_determinant(factor: Floats) -> float:
    """log |C| of a Cholesky factor `[n, n]`; of a batch `[., n, n]`, all of them added up."""
    return 2 * float(np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum())


def likelihood_slopes(inverse: Floats, weights: Floats) -> Floats:
    """What its negative gains with each entry of C, `[., n, n]`, of C⁻¹ `[., n, n]` and C⁻¹t `[., n]`."""
    return 0.5 * (inverse - weights[..., :, None] * weights[..., None, :])


def most_probable(
    loss: Callable[[Floats], tuple[float, Floats]],
    centre: Floats,
    width: Floats | float,
    bounds: list[tuple[float, float]],
    iterations: int,
) -> Floats:
    """The hyperparameters `[P]`, by logarithms within `bounds`, that are most probable after `loss`.

    `loss`, of logarithms, gives the negative log likelihood and its gradient `[P]`; it may raise LinAlgError where C is
    singular. Before it, logarithms are normal around `centre` `[P]`, `width` wide; the search starts at `centre`.
    """

    def objective(logarithms: Floats) -> tuple[float, Floats]:
        try:
            value, gradient = loss(logarithms)
        except np.linalg.LinAlgError:
            return _FAILED, np.zeros_like(logarithms)
        off = (logarithms - centre) / width
        return value + 0.5 * float(off @ off), gradient + off / width

    options = {"maxiter": iterations}
    found = minimize(objective, centre, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return np.asarray(np.exp(found.x))
