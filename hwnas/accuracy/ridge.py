"""Ridge regression on one-hot choices: an additive model, the floor for accuracy predictors.

Shapes: N architectures to predict, n training rows, F features.
"""

from __future__ import annotations

import numpy as np

from hwnas.spaces.space import Floats

__all__ = ["Ridge"]


class Ridge:
    """`arrays` holds `centre` and `slope` `[F]` and `intercept` `[1]`."""

    def __init__(self, arrays: dict[str, Floats]) -> None:
        self.arrays = arrays

    @classmethod
    def fit(cls, features: Floats, labels: Floats) -> Ridge:
        """Fit to `features` `[n, F]` and `labels` `[n]`; the penalty is that of the least leave-one-out error."""
        centre, intercept = features.mean(axis=0), labels.mean()
        left, singular, right = np.linalg.svd(features - centre, full_matrices=False)
        projected = left.T @ (labels - intercept)
        best_error, best_slope = np.inf, np.zeros(features.shape[1])
        for penalty in np.logspace(-3, 3, 25):
            shrink = singular**2 / (singular**2 + penalty)
            residual = labels - intercept - left @ (shrink * projected)
            # 1/n is the intercept's own leverage.
            leverage = (left**2) @ shrink + 1 / len(labels)
            error = float(np.mean((residual / np.maximum(1 - leverage, 1e-9)) ** 2))
            if error < best_error:
                best_error, best_slope = error, right.T @ (singular / (singular**2 + penalty) * projected)
        return cls({"centre": centre, "slope": best_slope, "intercept": np.array([intercept])})

    def predict(self, features: Floats, with_std: bool) -> tuple[Floats, Floats | None]:  # noqa: ARG002
        """Mean `[N]`; ridge has no uncertainty."""
        return (features - self.arrays["centre"]) @ self.arrays["slope"] + self.arrays["intercept"][0], None
