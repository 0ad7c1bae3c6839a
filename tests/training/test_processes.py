"""Several processes, as torchrun starts them, against one that has as many shards."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from hwnas.training.checkpoint import load_supernet, read_checkpoint, write_checkpoint
from hwnas.training.engine import train
from hwnas.training.identity import check_fit, run_identity
from hwnas.training.state import CheckpointFolder, read_history
from tests.training import tiny
from tests.training.launching import errors_said, torchrun

CHANGES: dict[str, Any] = {"dropout": 0.0, "checkpoint_every": 2, "log_every": 1}


def losses(rows: list[dict[str, Any]]) -> list[float]:
    return [row["loss"] for row in rows if row["event"] == "steps"]


@pytest.mark.parametrize("method", [pytest.param("progressive_shrinking", marks=pytest.mark.slow), "bignas"])
def test_two_processes_are_one_with_two_shards(
    method: str, space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    done = torchrun("tests.training.tiny", str(tmp_path / "two"), method, json.dumps(CHANGES), "0")
    assert done.returncode == 0, done.stderr[-3000:]
    config = replace(tiny.METHODS[method](), shards=2, **CHANGES)
    one = train(config, space, data, tmp_path / "one", 3, no_progress)
    rows = read_history(tmp_path / "two" / "history.json")
    assert losses(rows) == pytest.approx(losses(one.history), abs=1e-4)
    # More than asked for: every weight and statistic to the last bit, and each row once.
    two, _ = load_supernet(tmp_path / "two" / "supernet.safetensors")
    state = two.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in one.supernet.state_dict().items())
    assert [row["step"] for row in rows] == [row["step"] for row in one.history]
    # What two processes began, one goes on with: the split of a batch is the same.
    again = train(config, space, data, tmp_path / "two", 3, no_progress)
    assert losses(again.history) == losses(rows)


def test_another_number_of_processes_goes_on_where_each_divides_its_share_as_before(
    space: OfaMbv3Space, data: ImageData, tmp_path: Path
) -> None:
    config = tiny.bignas()  # two parts one after another

    def folder(processes: int, accumulate: int = 2) -> CheckpointFolder:
        changed = replace(config, accumulate=accumulate)
        return CheckpointFolder(tmp_path, run_identity(changed, space, data, 3, None, processes))

    folder(1).save(4, {}, [])
    for processes in (1, 2, 3, 6):
        saved = folder(processes).latest()
        assert saved is not None
        assert (saved.step, saved.processes, saved.parts) == (4, 1, 2)
    folder(2).save(8, {}, [])
    assert folder(1).at(8).processes == 2
    assert folder(1, accumulate=4).latest() is not None  # the same parts of a batch, all by one
    with pytest.raises(CheckpointError, match=r"run\.training\.parts: expected 6, found 4; go back"):
        folder(1, accumulate=6).latest()
    # An earlier version did not say how many there were: its checkpoints are taken for one process's.
    tensors, metadata = read_checkpoint(tmp_path / "step-00000004.safetensors")
    del metadata["identity"]["training"]["processes"]
    write_checkpoint(tmp_path / "step-00000009.safetensors", tensors, metadata)
    assert folder(4).at(9).processes == 1


def test_a_batch_must_be_divisible_among_processes(space: OfaMbv3Space, data: ImageData) -> None:
    config = replace(tiny.progressive_shrinking(), dropout=0.0, shards=2)
    check_fit(config, space, data, processes=3)
    for processes in (2, 15, 40):  # 30 images: no whole number each, one each, and none
        with pytest.raises(
            ConfigError,
            match=rf"batch_size=30: expected a multiple of {processes} processes × 2 shards.*among 1, 3 or 5 processes",
        ):
            check_fit(config, space, data, processes)


@pytest.mark.slow
def test_the_command_under_torchrun(tmp_path: Path) -> None:
    arguments = (
        "hwnas.cli.main", "train", "experiment=smoke", "training=bignas_smoke", "training.accelerator=cpu",
        f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    first = torchrun(*arguments)
    assert first.returncode == 0, first.stderr[-3000:]
    assert first.stdout.count("mean of 20 random") == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())["result"]
    assert result["largest"]["accuracy"] > 0.5
    again = torchrun(*arguments)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "up to date" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "processes", "expected"),
    [
        (("train", "training.batch_size=63"), 2, "batch_size=63: expected a multiple of 2 processes × 1 shards"),
        (("train", "training.batch_size=4"), 3, "it can be divided among 1 or 2 processes"),
        (("train", "training.accelerator=cuda"), 2, "training.accelerator=cuda with 2 processes on this machine: "),
        (("train", "training.batch_sise=4"), 2, "training.batch_sise"),
        (
            ("train", "--multirun", "seed=1,2"),
            2,
            "torchrun is for hwnas train alone, one training at a time, and started 2 processes for a sweep",
        ),
        (
            ("run",),
            2,
            "torchrun is for hwnas train alone, one training at a time, and started 2 processes for hwnas run",
        ),
        (
            ("search",),
            2,
            "torchrun is for hwnas train alone, one training at a time, and started 2 processes for hwnas search",
        ),
        (
            ("devices",),
            2,
            "torchrun is for hwnas train alone, one training at a time, and started 2 processes for hwnas devices",
        ),
    ],
    ids=["divides not", "too many", "no accelerator", "no setting", "sweep", "run", "search", "no step"],
)
def test_what_is_wrong_under_torchrun_is_said_once(
    arguments: tuple[str, ...], processes: int, expected: str, tmp_path: Path
) -> None:
    if "training.accelerator=cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is one here")
    experiment = ("experiment=smoke", f"hydra.run.dir={tmp_path}") if len(arguments) > 1 or "run" in arguments else ()
    began = time.monotonic()
    done = torchrun("hwnas.cli.main", *arguments, *experiment, processes=processes)
    assert done.returncode != 0
    (line,) = errors_said(done.stderr)
    assert expected in line
    assert time.monotonic() - began < 60
