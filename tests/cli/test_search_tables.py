"""`hwnas search` on measured tables and a learned predictor, without the steps that make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.cli.inputs import resolve_space, tables_of
from hwnas.latency.table import LatencyTable, NetworkRows, OperatorRows, write_table
from hwnas.spaces import OfaMbv3Space
from tests.running import run_hwnas


def written_table(space: OfaMbv3Space, path: Path, runtime: str, slowdown: float) -> None:
    rng = np.random.default_rng(0)
    cost = np.array([operator.macs / 1e6 + 0.01 for operator in space.operators]) * rng.uniform(
        0.8, 1.2, len(space.operators)
    )
    rows = space.unique(space.sample(3, rng))
    latency, samples = space.sum_over_operators(rows, cost), np.full(len(rows), 9)
    archs = tuple(space.arch(row).to_dict() for row in rows)
    provenance: dict[str, Any] = {
        "device": "localhost", "runtime": runtime, "runtime_version": "1", "precision": "fp32", "threads": 1,
        "reference": {"arch": archs[0], "seed": 0, "latency_ms": 1.0},
        "correction": {"slowdown": {"gain": slowdown, "threshold": 1e4, "width": 0.3}, "held_out_std": 0.02},
    }  # fmt: skip
    measured = np.full(len(cost), 9)
    operators = OperatorRows(space.operators, cost, cost, cost, measured, cost, ("",) * len(cost))
    write_table(LatencyTable(operators, NetworkRows(archs, latency, latency, latency, samples, latency, latency),
                             provenance), path)  # fmt: skip


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Overrides for two runtimes' tables, one of them with slowdown, and a predictor."""
    register_schemas()
    config = to_pipeline_config(compose_config("search", ["experiment=smoke"]))
    space = resolve_space(config)
    for (runtime, path), slowdown in zip(tables_of(config, tmp_path / "tables").items(), (0.0, 0.4), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        written_table(space, path, runtime, slowdown)
    rng = np.random.default_rng(1)
    rows = space.sample(60, rng)
    labels = 0.5 + 0.3 * space.macs(rows) / space.macs(space.extreme(largest=True)[None])
    predictor = AccuracyPredictor.fit(space, rows, labels, PredictorConfig(), rng)
    predictor.save(tmp_path / "predictor.safetensors")
    return [
        "experiment=smoke", f"latency.path={tmp_path / 'tables'}",
        f"accuracy.path={tmp_path / 'predictor.safetensors'}", f"hydra.run.dir={tmp_path / 'search'}",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["islands", "nsga2", "evolution", "random"])
def test_every_method_finds_a_network_for_each_runtime_and_budget(
    inputs: list[str], tmp_path: Path, method: str
) -> None:
    done = run_hwnas("search", *inputs, f"search.method={method}")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "search" / "result.json").read_text())["result"]
    assert [(entry["runtime"], entry["budget"]) for entry in result["selected"]] == [
        (runtime, budget) for runtime in ("onnxruntime", "litert") for budget in ("tight", "loose")
    ]
    for entry in result["selected"]:
        # With confidence 0.9 the mean stays clear of the budget.
        assert entry["latency_ms"] < entry["budget_ms"]
        assert len(entry["random_archs"]) == 10
        assert (entry["precision"], entry["threads"]) == ("fp32", 1)
    assert [front["runtime"] for front in result["front"]] == ["onnxruntime", "litert"]
    assert [steps["id"] for steps in result["history"]] == [entry["id"] for entry in result["selected"]]
    assert all(steps["evaluations"][-1] <= result["evaluations"] for steps in result["history"])
