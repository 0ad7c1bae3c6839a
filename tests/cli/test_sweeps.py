"""Runs of a sweep have folders of their own, and a later step of the sweep finds what an earlier one wrote there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hwnas.cli.main import main
from hwnas.pipeline.store.folders import step_folder
from hwnas.pipeline.store.steps import read_document
from tests.running import held_by_another, run_hwnas

TABLE = "kind,in_height,in_width,in_channels,out_channels,latency_ms\nlinear,1,1,16,10,0.1\n"


def made(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


def test_a_step_reads_what_lies_beside_it(tmp_path: Path) -> None:
    assert step_folder(tmp_path / "run" / "evaluate", "train") == tmp_path / "run" / "train"


def test_a_sweep_that_sweeps_more_reads_the_most_alike(tmp_path: Path) -> None:
    sweep = tmp_path / "run" / "multirun"
    made(sweep / "seed=0" / "train", sweep / "seed=1" / "train", sweep / "seed=0,training=bignas" / "train")
    folder = sweep / "seed=0,search.method=evolution,training=bignas" / "search"
    assert step_folder(folder, "train") == sweep / "seed=0,training=bignas" / "train"
    assert step_folder(sweep / "search.method=evolution,seed=1" / "search", "train") == sweep / "seed=1" / "train"


def test_a_sweep_reads_a_single_run_where_there_is_no_other(tmp_path: Path) -> None:
    made(tmp_path / "run" / "train", tmp_path / "run" / "multirun" / "seed=1" / "train")
    folder = tmp_path / "run" / "multirun" / "search.method=random" / "search"
    assert step_folder(folder, "train") == tmp_path / "run" / "train"
    assert step_folder(folder, "evaluate") == folder.parent / "evaluate"


def import_table(tmp_path: Path, *arguments: str) -> list[str]:
    path = tmp_path / "table.csv"
    path.write_text("name,input,output,latency_ms\nx,1-1-1,1-1-1,1\n")
    return ["import-table", str(path), "format=csv", "experiment=smoke", *arguments]


def imported_table(tmp_path: Path, *arguments: str) -> list[str]:
    """The same with a table of a network's operators, in a space that has them."""
    path = tmp_path / "operators.csv"
    path.write_text(TABLE)
    return ["import-table", str(path), "format=csv", "device=board", "experiment=smoke", *arguments]


def test_a_sweep_has_a_folder_for_each_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    main(import_table(tmp_path, "-m", "seed=0,1", "name=a,b", "space.width_mult=1.0"))
    for name in ("a", "b"):
        runs = tmp_path / "runs" / name / "multirun"
        assert sorted(path.name for path in runs.iterdir()) == ["seed=0", "seed=1"]
        assert (runs / "seed=1" / "import-table" / ".hydra").is_dir()


def test_of_names_alone_each_has_the_folder_of_a_single_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    main(import_table(tmp_path, "-m", "name=a,b"))
    assert (tmp_path / "runs" / "b" / "import-table" / ".hydra").is_dir()


def test_values_with_slashes_are_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    main(import_table(tmp_path, "-m", f"device={tmp_path}/a,{tmp_path}/b"))
    assert len(list((tmp_path / "runs" / "smoke" / "multirun").glob("*/import-table"))) == 2


def test_each_failure_of_a_sweep_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    assert main(["evaluate", "-m", "experiment=smoke", "seed=0,1"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hwnas: error: ")]
    assert len(lines) == 3
    assert "seed=0: " in lines[0]
    assert "run hwnas train first" in lines[0]
    assert "seed=1: " in lines[1]
    assert "2 of 2 runs failed" in lines[2]


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


def test_runs_of_a_sweep_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    done = run_hwnas(*imported_table(tmp_path, "-m", "seed=0,1", *JOBLIB))
    assert done.returncode == 0, done.stderr
    folders = sorted((tmp_path / "runs" / "smoke" / "multirun").iterdir())
    assert [folder.name for folder in folders] == ["seed=0", "seed=1"]
    assert [read_document(folder / "import-table" / "result.json")["seed"] for folder in folders] == [0, 1]
    again = run_hwnas(*imported_table(tmp_path, "-m", "seed=0,1"))  # one after another
    assert again.stdout.count("up to date") == 2


def test_failures_side_by_side_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    arguments = imported_table(tmp_path, "-m", *JOBLIB)
    arguments[1] = f"path={arguments[1]},{tmp_path}/none.csv"
    done = run_hwnas(*arguments)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("hwnas: error: ")]
    assert len(lines) == 2
    assert "none.csv: no such file" in lines[0]
    assert "1 of 2 runs failed" in lines[1]


def test_a_launcher_that_is_not_installed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", "seed=0,1", "hydra/launcher=rayy"]) == 1
    assert "hydra/launcher=rayy: not one of Hydra's launchers here: " in capsys.readouterr().err


def test_a_wrong_value_in_a_sweep_is_told_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-m", "training.batch_size=64,1"]) == 1
    assert "training.batch_size" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_written_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    with held_by_another(folder / ".lock"):
        done = run_hwnas("train", "experiment=smoke", f"hydra.run.dir={folder}")
        assert done.returncode == 1
        assert "is being written by another hwnas process: wait for it, or choose" in done.stderr
        assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.slow
def test_the_steps_of_a_sweep_find_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HWNAS_RUNS", str(tmp_path / "runs"))
    for command in ("train", "evaluate"):
        done = run_hwnas(command, "-m", "experiment=smoke", "seed=0,1")
        assert done.returncode == 0, done.stderr
    runs = tmp_path / "runs" / "smoke" / "multirun"
    seeds = [json.loads((runs / f"seed={seed}" / "evaluate" / "result.json").read_text())["seed"] for seed in (0, 1)]
    assert seeds == [0, 1]
