"""Hand-derived gradients that only an optimiser sees, checked where it would use them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, check_grad

from hwnas.spaces.space import Floats

__all__ = ["slope_errors"]

_POINTS = 5


def slope_errors(monkeypatch: pytest.MonkeyPatch, module: ModuleType, fit: Callable[[], object]) -> list[float]:
    """Of the loss that `fit` minimises by the `minimize` of `module`: errors of its gradient, as shares of its norm."""
    rng, errors = np.random.default_rng(0), list[float]()

    def check(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, **settings: Any) -> OptimizeResult:
        assert settings["jac"] is True
        for _ in range(_POINTS):
            at = start + rng.normal(size=len(start))
            error = check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], at, epsilon=1e-6)
            errors.append(float(error / np.linalg.norm(loss(at)[1])))
        return OptimizeResult(x=start)

    monkeypatch.setattr(module, "minimize", check)
    fit()
    assert len(errors) == _POINTS
    return errors
