"""`hwnas search` on measured tables and a learned predictor, without the steps that make them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.errors import HwnasError
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows, write_table
from hwnas.pipeline.inputs import tables_of
from hwnas.pipeline.search.step import search
from hwnas.pipeline.space import resolve_space
from hwnas.search.config import SEARCHERS
from hwnas.spaces import Space


def written_table(
    space: Space, path: Path, runtime: str, slowdown: float, device: str = "localhost", seed: int = 0
) -> None:
    rng = np.random.default_rng(seed)
    cost = np.array([operator.macs / 1e6 + 0.01 for operator in space.operators]) * rng.uniform(
        0.8, 1.2, len(space.operators)
    )
    rows = space.unique(space.sample(3, rng))
    latency, samples = space.sum_over_operators(rows, cost), np.full(len(rows), 9)
    archs = tuple(space.arch(row).to_dict() for row in rows)
    provenance: dict[str, Any] = {
        "device": device, "runtime": runtime, "runtime_version": "1", "precision": "fp32", "threads": 1,
        "reference": {"arch": archs[0], "seed": 0, "latency_ms": 1.0},
        "correction": {"slowdown": {"gain": slowdown, "threshold": 1e4, "width": 0.3}, "held_out_std": 0.02},
    }  # fmt: skip
    measured = np.full(len(cost), 9)
    operators = OperatorRows(space.operators, cost, cost, cost, measured, cost, ("",) * len(cost))
    write_table(LatencyTable(operators, NetworkRows(archs, latency, latency, latency, samples, latency, latency),
                             provenance), path)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runtimes' tables, one of them with slowdown, and a predictor."""
    folder = tmp_path_factory.mktemp("inputs")
    register_schemas()
    config = to_pipeline_config(compose_config("search", ["experiment=smoke"]))
    space = resolve_space(config)
    for (runtime, path), slowdown in zip(
        tables_of(config, "local", folder / "tables").items(), (0.0, 0.4), strict=True
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        written_table(space, path, runtime, slowdown)
    rng = np.random.default_rng(1)
    rows = space.sample(60, rng)
    labels = 0.5 + 0.3 * space.macs(rows) / space.macs(space.extreme(largest=True)[None])
    predictor = AccuracyPredictor.fit(space, rows, labels, PredictorConfig(), rng)
    predictor.save(folder / "predictor.safetensors")
    return folder


@pytest.fixture
def inputs(made: Path, tmp_path: Path) -> list[str]:
    """Overrides for copies of them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return [
        "experiment=smoke", f"latency.path={tmp_path / 'tables'}",
        f"accuracy.path={tmp_path / 'predictor.safetensors'}", f"hydra.run.dir={tmp_path / 'search'}",
    ]  # fmt: skip


@pytest.mark.parametrize("method", [*SEARCHERS[:5], "random"])
def test_every_method_finds_a_network_for_each_runtime_and_budget(inputs: list[str], method: str) -> None:
    quick = ("search.comparison_networks=10", "search.evolution.generations=50", "search.nsga2.generations=30")
    more = ("search.regularized.evaluations=500", "search.local.starts=2", "search.random.samples=5000")
    folder = in_process(inputs, f"search.method={method}", *quick, *more)
    result = json.loads((folder / "result.json").read_text())["result"]
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


def test_bananas_learns_with_its_ensemble(inputs: list[str]) -> None:
    short = ("search.bananas.evaluations=60", "search.budget_quantiles=[0.5]", "runtime=litert")
    folder = in_process(inputs, "search.method=bananas", *short)
    result = json.loads((folder / "result.json").read_text())["result"]
    assert result["evaluations"] == 60
    (entry,) = result["selected"]
    assert entry["latency_ms"] < entry["budget_ms"]
    assert result["history"][0]["accuracy"][-1] == pytest.approx(entry["accuracy_predicted"])


SHORT = ("search.islands.generations=5", "search.comparison_networks=0")


def in_process(inputs: list[str], *more: str) -> Path:
    """`hwnas search` without a process of its own, which takes a second; the folder of its result."""
    *settings, run_dir = inputs
    folder = Path(run_dir.removeprefix("hydra.run.dir="))
    search(to_pipeline_config(compose_config("search", [*settings, *SHORT, *more])), folder)
    return folder


def test_objectives_and_constraints_are_met_and_shown(inputs: list[str], tmp_path: Path) -> None:
    asked = ("search.objectives=[accuracy,macs,file_bytes]", "search.constraints={parameters: 9000, macs: 4e5}")
    result = json.loads((in_process(inputs, *asked) / "result.json").read_text())["result"]
    assert result["objectives"][1] == {"name": "macs", "unit": "MACs", "direction": "minimise"}
    assert [entry["bound"] for entry in result["constraints"]] == [9000, 4e5]
    for entry in result["selected"]:
        assert entry["parameters"] <= 9000
        assert entry["macs"] <= 4e5
        assert entry["quantities"]["macs"] == entry["macs"]
        assert 3.4 * entry["parameters"] < entry["quantities"]["file_bytes"] < 4 * entry["parameters"]
    for front in result["front"]:
        values = np.array([front["objectives"][name] for name in ("accuracy", "macs", "file_bytes")]) * [[-1], [1], [1]]
        assert len(front["archs"]) == values.shape[1] > 1
        assert not any(
            ((other <= one).all() and (other < one).any()) for one in values.T[:50] for other in values.T
        )  # fmt: skip


def test_another_quantity_may_come_first(inputs: list[str], tmp_path: Path) -> None:
    asked = ("search.objectives=[macs,latency_ms]", "search.constraints={accuracy: 0.6}", "runtime=onnxruntime")
    folder = in_process(inputs, *asked, "search.budget_quantiles=[0.9]")
    result = json.loads((folder / "result.json").read_text())["result"]
    (entry,) = result["selected"]
    assert entry["accuracy_predicted"] >= 0.6
    assert result["history"][0]["macs"][-1] == entry["macs"] <= result["history"][0]["macs"][0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.constraints={parameters: 5}", "no network of space ofa_mbv3_smoke meets parameters <= 5"),
        ("search.constraints={energy_mj: 5}", "has no column energy_mj"),
        ("search.constraints={latency_ms@moon: 5}", "moon is no device of this search; valid: localhost-onnxruntime"),
        ("search.constraints={latency_ms@localhost: 5}", "localhost has several latency tables"),
        ("search.constraints={marcs: 5}", "did you mean 'macs'"),
        ("search.objectives=[accuracy,energy_mj]", "has no column energy_mj"),
        ("devices=[local,local]", "distinct names"),
        ("devices=[moon]", "no such file"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(inputs: list[str], override: str, message: str) -> None:
    with pytest.raises(HwnasError) as caught:
        in_process(inputs, override)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_devices_are_searched_in_one_run_and_may_limit_each_other(inputs: list[str], tmp_path: Path) -> None:
    register_schemas()
    space = resolve_space(to_pipeline_config(compose_config("search", ["experiment=smoke"])))
    for device, slowdown in (("alpha", 0.0), ("beta", 0.3)):
        for runtime in ("onnxruntime", "litert"):
            path = tmp_path / "tables" / device / f"{runtime}-fp32-1t.csv"
            path.parent.mkdir(exist_ok=True)
            written_table(space, path, runtime, slowdown, device)
    asked = ("devices=[alpha,beta]", "runtime=litert", "search.constraints={latency_ms@beta: 0.5}")
    folder = in_process(inputs, *asked, "search.budgets=[0.4,0.6,0.8]")
    result = json.loads((folder / "result.json").read_text())["result"]
    assert [entry["id"] for entry in result["selected"]] == [
        f"{device}-litert-{budget}ms" for device in ("alpha", "beta") for budget in (0.4, 0.6, 0.8)
    ]
    assert all(entry["quantities"]["latency_ms@beta"] <= 0.5 for entry in result["selected"])


def test_what_was_searched_before_a_kill_is_kept(inputs: list[str]) -> None:
    folder = in_process(inputs)
    whole = json.loads((folder / "result.json").read_text())["result"]
    first, second = sorted((folder / "state").iterdir())
    # As a kill within the second target leaves it.
    (folder / "result.json").unlink()
    second.unlink()
    before = first.stat().st_mtime_ns
    in_process(inputs)
    again = json.loads((folder / "result.json").read_text())["result"]
    assert first.stat().st_mtime_ns == before
    timed = ("elapsed_s", "history")
    assert {k: v for k, v in whole.items() if k not in timed} == {k: v for k, v in again.items() if k not in timed}
    for one, other in zip(whole["history"], again["history"], strict=True):
        assert one | {"elapsed_s": None} == other | {"elapsed_s": None}
