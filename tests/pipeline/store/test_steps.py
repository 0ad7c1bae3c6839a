"""A step is done once, goes on after a kill, and never overwrites what other inputs made."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import StorageError
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import changed_keys, files_digest, read_result, read_result_as, run_step
from hwnas.training.config import PhaseConfig


@dataclass(frozen=True)
class Value:
    """A step's result."""

    value: int
    note: str | None = optional()


class Work:
    """Counts how often it was done."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> Value:
        self.times += 1
        return Value(self.times)


def test_unchanged_inputs_are_not_done_again(tmp_path: Path) -> None:
    work = Work()
    said: list[str] = []
    for _ in range(2):
        result = run_step("train", tmp_path / "train", {"epochs": 3, "sizes": (1, 2)}, 0, Value, work, said.append)
    assert result == Value(1)
    assert work.times == 1
    assert said == [f"train: up to date ({tmp_path / 'train' / 'result.json'})"]


@pytest.mark.parametrize(("changed", "named"), [({"epochs": 4}, "epochs"), ({"epochs": 3, "new": 1}, "new")])
def test_changed_inputs_keep_the_former_output(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    work = Work()
    said: list[str] = []
    folder = tmp_path / "train"
    run_step("train", folder, {"epochs": 3}, 0, Value, work, said.append)
    (folder / "weights").write_text("old")
    (folder / "train.log").write_text("of the running command, opened before the step began")
    assert run_step("train", folder, changed, 0, Value, work, said.append) == Value(2)
    kept = tmp_path / "superseded" / "train-1"
    assert (kept / "weights").read_text() == "old"
    assert not (folder / "weights").exists()
    assert (folder / "train.log").exists()
    assert not (kept / "train.log").exists()
    assert named in said[0]
    assert str(kept) in said[0]


def test_another_seed_is_another_input(tmp_path: Path) -> None:
    work = Work()
    for seed in (0, 1):
        run_step("train", tmp_path / "train", {}, seed, Value, work, lambda _: None)
    assert work.times == 2


def test_interrupted_step_keeps_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "train"

    def interrupted() -> Value:
        (folder / "checkpoint").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_step("train", folder, {"epochs": 3}, 0, Value, interrupted, lambda _: None)
    assert not (folder / "result.json").exists()
    work = Work()
    run_step("train", folder, {"epochs": 3}, 0, Value, work, lambda _: None)
    assert work.times == 1
    assert (folder / "checkpoint").read_text() == "half"


def test_result_document(tmp_path: Path) -> None:
    run_step("search", tmp_path, {}, 7, Value, lambda: Value(1), lambda _: None)
    document = json.loads((tmp_path / "result.json").read_text())
    assert set(document) == {"command", "version", "seed", "elapsed_s", "result"}
    assert (document["command"], document["seed"], document["result"]) == ("search", 7, {"value": 1})


def test_damaged_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"result": {"a"')
    with pytest.raises(StorageError, match="not a complete JSON file"):
        read_result(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"result": {"valeu": 3}}', "missing required field `value`"),
        ('{"result": {"value": "three"}}', "Expected `int`, got `str` - at `$.value`"),
    ],
)
def test_another_result_is_named(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    with pytest.raises(StorageError, match=re.escape(said)) as raised:
        read_result_as(Value, path)
    assert str(path) in str(raised.value)


def test_keys_of_later_versions_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text('{"result": {"value": 3, "new": [1]}}')
    assert read_result_as(Value, path) == Value(3)


def test_changed_keys_are_dotted() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert changed_keys(before, {"a": {"b": 2, "c": (1, 2)}, "e": 1}) == ["a.b", "d", "e"]


def test_settings_that_a_version_did_not_know_and_that_say_nothing_change_nothing() -> None:
    phase = PhaseConfig("all", 1, 0.1)
    assert "opens" not in to_plain(phase)
    assert to_plain(replace(phase, opens=("ks",)))["opens"] == ["ks"]


def test_missing_file_is_named_with_its_role(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"checkpoint: no such file: .*supernet"):
        files_digest({"checkpoint": tmp_path / "supernet.safetensors"})
