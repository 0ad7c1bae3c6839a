"""Families of made-up devices, whose latencies follow operators as real ones do: to test without reference data."""

from __future__ import annotations

import numpy as np

from hwnas.spaces.nasbench201 import NasBench201Space

__all__ = ["cell_devices"]


def cell_devices(devices: int, rows: int, seed: int, noise: float = 0.02) -> tuple[np.ndarray, np.ndarray]:
    """Distinct genotypes `[rows, 6]` and latencies `[rows, devices]`, in ms: every third device removes dead code."""
    rng = np.random.default_rng(seed)
    space = NasBench201Space()
    genotypes = space.unique(space.sample(2 * rows, rng))[:rows]
    built = np.eye(5)[genotypes]
    live = built * space.live(genotypes)[:, :, None]
    columns = []
    for device in range(devices):
        counts = (live if device % 3 == 2 else built).sum(axis=1)
        costs = np.array([0.0, 0.1, 1.0, 3.0, 0.8]) * np.exp(rng.normal(0, 0.4, 5))
        scale = np.exp(rng.normal(1, 1))
        columns.append(scale * (2 + counts @ costs) * np.exp(rng.normal(0, noise, rows)))
    return genotypes, np.stack(columns, axis=1)
