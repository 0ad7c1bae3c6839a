"""A small space, and a table of it whose latencies follow a known law."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space

SMALL = OfaMbv3Config(
    name="small", resolution=(24, 32), widths=(8, 8, 16, 24, 64, 96), strides=(1, 2, 2), in_channels=1, classes=10,
    activations=("relu", "relu", "h_swish"), se=(False, False, True), depths=(1, 2), expand_ratios=(3, 6),
)  # fmt: skip


@pytest.fixture
def space() -> OfaMbv3Space:
    return make_space(SMALL)


@pytest.fixture
def table(space: OfaMbv3Space) -> LatencyTable:
    rng = np.random.default_rng(0)
    operators = len(space.operators)
    median = rng.uniform(0.001, 0.02, operators)
    genotypes = space.unique(space.sample(12, rng))
    latency = space.sum_over_operators(genotypes, median)
    return LatencyTable(
        OperatorRows(
            space.operators, median, median * 0.9, median * 1.1, np.full(operators, 50), median * 1.2, ("",) * operators
        ),
        NetworkRows(
            tuple(space.arch(genotype).to_dict() for genotype in genotypes), latency, latency * 0.9, latency * 1.1,
            np.full(len(genotypes), 50), latency, np.full(len(genotypes), np.nan),
        ),
        {
            "device": "board", "runtime": "onnxruntime", "runtime_version": "1.0", "precision": "fp32", "threads": 1,
            "spaces": [space.config()],
            "reference": {"arch": space.arch(genotypes[0]).to_dict(), "seed": 0, "latency_ms": 0.1},
            "correction": {
                "slowdown": {"gain": 0.5, "threshold": 20000.0, "width": 0.3}, "held_out_std": 0.02,
            },
        },
    )  # fmt: skip
