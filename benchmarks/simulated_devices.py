"""Devices that were never measured, as many as asked for, to search at a scale at which nobody has measured ones.

Each has the shipped table of one setting with its costs scaled by random factors: one for each kind of operator, and an
exponent of its multiplications, which favours small operators or large ones. Nothing here says what a device's latency
is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import hwnas
from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows, table_path, write_table
from hwnas.spaces import Space

__all__ = ["SETTING", "write_by_macs", "write_devices", "write_predictor"]

SETTING = "onnxruntime-fp32-1t"
_MEASURED = "ofa_mbv3_32/emerald_rapids_2_cores"
_KIND_SPREAD, _SIZE_SPREAD = 0.4, 0.15  # standard deviations of a kind's logarithm, and of the exponent


def write_devices(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Tables of `count` devices under `folder`, as `hwnas search latency.path=FOLDER` reads them; their names."""
    measured = hwnas.LatencyTable.read(table_path(hwnas.packaged("latency_tables"), _MEASURED, SETTING))
    names = [f"device{number:04d}" for number in range(count)]
    for number, name in enumerate(names):
        write_table(_scaled(measured, name, np.random.default_rng([seed, number])), table_path(folder, name, SETTING))
    return names


def write_predictor(path: Path, space: Space, rows: int = 150, seed: int = 0) -> Path:
    """A Gaussian process of `rows` networks of `space`, whose accuracies rise with multiplications and vary by gene."""
    rng = np.random.default_rng(seed)
    genotypes = space.unique(space.sample(2 * rows, rng))[:rows]
    features, macs = space.features(genotypes), np.log(space.macs(genotypes))
    by_choice = features @ rng.normal(0, 0.004, features.shape[1])
    accuracies = 0.85 + 0.03 * (macs - macs.mean()) / macs.std() + by_choice + rng.normal(0, 0.003, rows)
    return AccuracyPredictor.fit(space, genotypes, accuracies, PredictorConfig(), rng).save(path)


def write_by_macs(path: Path, space: Space) -> Path:
    """A table of any space, whose operators take a ms for a million multiplications and a hundredth of one more."""
    count = len(space.operators)
    cost = np.array([operator.macs / 1e6 + 0.01 for operator in space.operators])
    samples, none = np.ones(count, dtype=np.int64), np.zeros(0)
    operators = OperatorRows(space.operators, cost, cost, cost, samples, cost, ("",) * count)
    networks = NetworkRows((), none, none, none, none.astype(np.int64), none, none)
    arch = space.arch(space.extreme(largest=True)).to_dict()
    provenance = {
        "device": "local", "runtime": "onnxruntime", "runtime_version": "none", "precision": "fp32", "threads": 1,
        "reference": {"arch": arch, "seed": 0, "latency_ms": 1.0},
    }  # fmt: skip
    return write_table(LatencyTable(operators, networks, provenance), path)


def _scaled(table: LatencyTable, device: str, rng: np.random.Generator) -> LatencyTable:
    operators = table.operators.operators
    kinds = sorted({operator.kind for operator in operators})
    of_kind = dict(zip(kinds, np.exp(rng.normal(0, _KIND_SPREAD, len(kinds))), strict=True))
    macs = np.array([max(operator.macs, 1) for operator in operators], dtype=np.float64)
    size = (macs / np.median(macs)) ** rng.normal(0, _SIZE_SPREAD)
    factor = np.array([of_kind[operator.kind] for operator in operators]) * size
    rows = replace(
        table.operators,
        **{key: getattr(table.operators, key) * factor for key in ("median_ms", "p10_ms", "p90_ms", "in_network_ms")},
    )
    return replace(table, operators=rows, provenance={**table.provenance, "device": device})
