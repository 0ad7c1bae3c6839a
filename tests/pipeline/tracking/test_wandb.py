"""What W&B writes of a run without a server, read back record by record; and a server that is not there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hwnas.pipeline.tracking.config import TrackingConfig
from tests.pipeline.tracking import runs
from tests.pipeline.tracking.test_mlflow import closed_port

pytestmark = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed: pip install 'hwnas[wandb]'")
CONFIG = TrackingConfig("wandb", timeout_s=5.0)
_BLOCK, _HEAD = 32768, 7


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Before the seconds of a timeout run; not while tests are collected, in each process that does."""
    import_module("wandb")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def records(path: Path) -> Iterator[Any]:
    """The records of a run's file: LevelDB's log format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, whole = path.read_bytes(), _HEAD, b""
    while at + _HEAD <= len(content):
        if _BLOCK - at % _BLOCK < _HEAD:
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + _HEAD : at + _HEAD + length]
        at += _HEAD + length
        if kind in (1, 4):  # whole, or the last piece
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read(folder: Path) -> dict[str, Any]:
    """Of a folder of W&B's: `id`, `config`, `history` and `summary`, and the names of artefacts with their files."""
    found: dict[str, Any] = {"config": {}, "history": [], "summary": {}, "files": {}}
    (path,) = folder.glob("*.wandb")
    deadline = time.monotonic() + 20
    while not any(record.HasField("exit") for record in records(path)):  # W&B's process writes on for a moment
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["id"], found["project"], found["name"] = (
                record.run.run_id, record.run.project, record.run.display_name
            )  # fmt: skip
        for update in record.config.update if kind == "config" else record.run.config.update if kind == "run" else ():
            found["config"][update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        for update in record.summary.update if kind == "summary" else ():
            found["summary"][update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        if kind == "history":
            found["history"].append(
                {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
        if kind == "artifact":
            found["files"][record.artifact.name] = {entry.path for entry in record.artifact.manifest.contents}
    return found


def offline_runs(run: Path) -> list[Path]:
    return sorted((run / "tracking" / "wandb").glob("offline-run-*"))


def test_without_a_key_a_run_is_in_files(tmp_path: Path) -> None:
    with runs.followed(tmp_path / "mine" / "train", CONFIG) as said:
        runs.train(tmp_path / "mine" / "train")
    assert said == []
    (folder,) = offline_runs(tmp_path / "mine")
    found = read(folder)
    assert (found["project"], found["name"]) == ("hwnas", "mine")
    assert found["config"]["training.batch_size"] == "64"
    curve = [(one["train/step"], one["train/loss"]) for one in found["history"] if "train/loss" in one]
    assert curve == [(1, 2.0), (2, 1.5)]
    assert found["summary"]["train.largest.held_out_accuracy"] == 0.25
    assert found["summary"]["tables/train.targets.nrows"] == 1
    (name,) = (name for name in found["files"] if name.endswith("-train"))
    assert name == f"{found['id']}-train"
    assert found["files"][name] == {
        "train/inputs.json", "train/result.json", "train/supernet.safetensors", "train/training.csv"
    }  # fmt: skip


def test_the_commands_of_one_folder_are_one_run(tmp_path: Path) -> None:
    for command in ("train", "evaluate"):
        with runs.followed(tmp_path / command, replace(CONFIG, files=False), command):
            runs.train(tmp_path / command)
    first, second = (read(folder) for folder in offline_runs(tmp_path))
    assert first["id"] == second["id"]
    assert "train.largest.accuracy" in first["summary"]
    assert "evaluate.largest.accuracy" in second["summary"]


def test_no_server_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    config = replace(CONFIG, uri=f"http://127.0.0.1:{closed_port()}", timeout_s=1.0)
    began = time.monotonic()
    with runs.followed(tmp_path / "train", config) as said:
        runs.train(tmp_path / "train")
    assert time.monotonic() - began < 20
    assert len(said) == 1
    assert said[0].startswith("tracking=wandb: given up (")
    assert "\n" not in said[0]
    assert capfd.readouterr() == ("", "")
    with runs.followed(tmp_path / "train", replace(config, mode="offline")) as said:
        pass
    assert said == []
    assert read(offline_runs(tmp_path)[0])["summary"]["train.largest.held_out_accuracy"] == 0.25
