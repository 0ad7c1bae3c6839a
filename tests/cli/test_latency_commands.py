"""`hwnas evaluate-latency` and `hwnas onboard`, as a user starts them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.latency.fewshot.predictor_file import load_predictor_file
from hwnas.spaces import OfaMbv3Space, make_space
from tests.cli.test_config import composed
from tests.latency.families import cell_devices
from tests.running import run_here, run_hwnas

GENES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    genotypes, latency_ms = cell_devices(devices=6, rows=200, seed=3)
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    rows = [[*map(str, g), *map(repr, ms)] for g, ms in zip(genotypes.tolist(), latency_ms.tolist(), strict=True)]
    header = [*GENES, *(f"dev{device}" for device in range(6))]
    path.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return path


def csv_arguments(table: Path) -> tuple[str, ...]:
    return (
        "evaluate-latency", "data=csv", f"data.path={table}", f"data.genes=[{','.join(GENES)}]",
        "data.train_devices=[dev0,dev1,dev3]", "data.test_devices=[dev4]", "data.pool=100", "data.test=[100,200]",
        "data.trim=0.1",
    )  # fmt: skip


def test_a_table_of_ones_own_is_evaluated(table: Path, tmp_path: Path) -> None:
    arguments = (*csv_arguments(table), "latency=fewshot", "measurements=6", "seeds=2", f"hydra.run.dir={tmp_path}")
    done = run_hwnas(*arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())["result"]
    assert set(result["per_device"]) == {"dev4"}
    assert result["measurements_used"] == 6
    assert result["mean_spearman"] > 0.8
    assert result["mape"] < 0.3
    assert 0.5 < result["interval_coverage"] <= 1
    assert len(result["ci95"]) == 2
    assert "up to date" in run_hwnas(*arguments).stdout


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("latency=fewshot", "measurements=2"), "at least 3"),
        (("latency=fewshot", "data.test_devices=[dev9]"), "no column for device 'dev9'"),
        (("latency=fewshot", "protocol.scaling=fair"), "did you mean"),
        (("latency=table",), "no predictor of new devices"),
        (("latency=macs",), "no operators to count"),
        (("latency=fewshot", "seeds=0"), "seeds: expected at least 1"),
    ],
)
def test_mistakes_are_one_line(table: Path, tmp_path: Path, changes: tuple[str, ...], message: str) -> None:
    done = run_here(*csv_arguments(table), *changes, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("hwnas: error: ")
    assert message in done.stderr or message == "did you mean"


@pytest.mark.slow
def test_the_honest_protocol_on_published_measurements(reference_data: Path, tmp_path: Path) -> None:
    done = run_hwnas(
        "evaluate-latency", "data=nasbench201", "latency=fewshot", "measurements=10", "seeds=2",
        f"data.path={reference_data / 'help' / 'nasbench201_latency_ms.csv.gz'}", f"hydra.run.dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())["result"]
    assert result["measurements_used"] == 10
    assert result["mean_spearman"] > 0.935
    assert result["mape"] < 0.1


@pytest.mark.slow
def test_a_device_is_onboarded_and_searched_with(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    small = ("experiment=smoke", "runtime=onnxruntime", "profiling.rounds=3", "profiling.slice_ms=1")
    folder = tmp_path / "onboard"
    done = run_hwnas("onboard", *small, "measurements=6", "onboard.candidates=60", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "architecture's features alone" in done.stdout
    assert "expected error" in done.stdout
    result = json.loads((folder / "result.json").read_text())["result"]
    assert result["measurements_used"] == 6
    assert len(result["measured"]) == 6
    config = composed("experiment=smoke")
    from hwnas.pipeline.space import resolve_space

    space = resolve_space(config)
    assert isinstance(space, OfaMbv3Space)
    predictor, facts = load_predictor_file(folder / "predictor.safetensors", make_space(space.settings))
    assert facts["runtime"] == "onnxruntime"
    assert (predictor.latency_ms(space.sample(50, np.random.default_rng(0))) > 0).all()
    early = run_hwnas(
        "onboard", *small, "measurements=12", "onboard.candidates=60", "onboard.target_mape=0.9",
        f"hydra.run.dir={tmp_path / 'early'}",
    )  # fmt: skip
    assert early.returncode == 0, early.stderr
    assert json.loads((tmp_path / "early" / "result.json").read_text())["result"]["stopped_early"]
