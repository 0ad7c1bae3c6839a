"""The printed tables: balanced accuracy beside accuracy where the classes differ in size, nowhere else."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.commands import train as train_command
from hwnas.cli.commands.validate import table
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.train import Scored, ScoredSubnet, Trained
from hwnas.pipeline.validate import ValidatedTarget

EVEN, UNEVEN = {"train": [10, 20], "test": [5, 5]}, {"train": [10, 30], "test": [5, 5]}


def target(**more: Any) -> ValidatedTarget:
    values: dict[str, Any] = dict.fromkeys((field.name for field in fields(ValidatedTarget)), 0.5)
    words = {"id": "a", "device": "local", "runtime": "litert", "precision": "fp32", "budget": "b", "file": "f"}
    return ValidatedTarget(**(values | words | {"arch": {}, "accuracy_random": None} | more))


def test_the_table_of_files() -> None:
    columns, (row,) = table([target(balanced_accuracy_exported=0.25)], UNEVEN)
    assert dict(zip(columns, row, strict=True))["balanced"] == "0.2500"
    assert dict(zip(columns, row, strict=True))["random"] == "–"
    for known in (EVEN, None):  # older results don't say
        columns, (row,) = table([target(balanced_accuracy_exported=None)], known)
        assert len(columns) == len(row) == 10
        assert "balanced" not in columns


@pytest.mark.parametrize(("images_by_class", "shown"), [(UNEVEN, True), (EVEN, False), (None, False)])
def test_the_table_of_a_training(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    images_by_class: dict[str, list[int]] | None,
    shown: bool,
) -> None:
    before = Scored(0.5, 0.6, balanced_accuracy=0.3, held_out_balanced_accuracy=0.4)
    subnet = ScoredSubnet(0.7, 0.8, None, 0.1234, 0.2345, arch={}, before=before)
    data = {"name": "made"} | ({"images_by_class": images_by_class} if images_by_class else {})
    trained = Trained(
        checkpoint="c", subnet=subnet, images_per_s=1.0, train_s=1.0, parameters=1, subnets=1, data=data, space={},
        history=(),
    )  # fmt: skip
    monkeypatch.setattr(train_command, "train", lambda *_: trained)
    train_command.run(None, tmp_path)  # type: ignore[arg-type] # which the training alone reads
    printed = capsys.readouterr().out
    assert ("0.1234" in printed, "0.2345" in printed, "balanced" in printed) == (shown,) * 3
    assert "0.7000" in printed
    assert from_plain(Trained, to_plain(trained), tmp_path) == trained


def test_results_from_before_are_read(tmp_path: Path) -> None:
    older = {"accuracy": 0.5, "held_out_accuracy": 0.6}
    assert from_plain(Scored, older, tmp_path) == Scored(0.5, 0.6)
    assert to_plain(Scored(0.5, 0.6)) == older
