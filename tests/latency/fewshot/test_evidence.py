"""Widths by marginal likelihood: what the optimiser is told of the slope is the slope."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas import gaussian
from hwnas.latency.fewshot import evidence
from tests.slopes import slope_errors


def test_the_gradient_of_the_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    batches, count, rows = 4, 3, 6
    roots = rng.normal(size=(batches, count, rows, rows))
    kernels, targets = roots @ roots.swapaxes(2, 3) / rows, rng.normal(size=(batches, rows))
    noise_shape, device = rng.uniform(0.5, 2.0, (batches, rows)), np.array([0, 1, 1, 0])
    start = np.array([1.0, 0.5, 0.2, 0.1])

    def fit() -> object:
        return evidence.maximise_evidence(kernels, targets, noise_shape, device, start, 10)

    assert max(slope_errors(monkeypatch, gaussian, fit)) < 1e-5
