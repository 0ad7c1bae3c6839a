"""Widths by marginal likelihood: what the optimiser is told of the slope is the slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, check_grad

from hwnas.latency.fewshot import evidence
from hwnas.spaces.space import Floats


def test_the_gradient_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    batches, count, rows = 4, 3, 6
    roots = rng.normal(size=(batches, count, rows, rows))
    kernels, targets = roots @ roots.swapaxes(2, 3) / rows, rng.normal(size=(batches, rows))
    noise_shape, device = rng.uniform(0.5, 2.0, (batches, rows)), np.array([0, 1, 1, 0])
    checked: list[float] = []

    def check(loss: Callable[[Floats], tuple[float, Floats]], start: Floats, **settings: Any) -> OptimizeResult:
        assert settings["jac"] is True
        for _ in range(5):
            at = start + rng.normal(size=len(start))
            error = check_grad(lambda x: loss(x)[0], lambda x: loss(x)[1], at, epsilon=1e-6)
            checked.append(error / np.linalg.norm(loss(at)[1]))
        return OptimizeResult(x=start)

    monkeypatch.setattr(evidence, "minimize", check)
    evidence.maximise_evidence(kernels, targets, noise_shape, device, np.array([1.0, 0.5, 0.2, 0.1]), 10)
    assert len(checked) == 5
    assert max(checked) < 1e-5
