"""Several processes, as torchrun starts them, against one that has as many shards."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hwnas.data.load import ImageData
from hwnas.errors import ConfigError
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from hwnas.training.checkpoint import load_supernet
from hwnas.training.engine import train
from hwnas.training.identity import check_fit
from hwnas.training.state import read_history
from tests.training import tiny

CHANGES: dict[str, Any] = {"dropout": 0.0, "checkpoint_every": 2, "log_every": 1}


def torchrun(*arguments: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone", "-m"]
    root = Path(__file__).parents[2]
    return subprocess.run([*command, *arguments], cwd=root, capture_output=True, text=True, check=False)


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


def test_a_batch_must_be_divisible_among_processes(space: OfaMbv3Space, data: ImageData) -> None:
    config = replace(tiny.progressive_shrinking(), dropout=0.0, shards=2)
    check_fit(config, space, data, processes=3)
    for processes in (2, 15):  # 30 images: no whole number each, and one each
        with pytest.raises(
            ConfigError, match=rf"batch_size=30: expected a multiple of {processes} processes × 2 shards"
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
    odd = torchrun(*arguments, "training.batch_size=63")
    assert odd.returncode != 0
    assert "batch_size=63: expected a multiple of 2 processes" in odd.stderr
    whole = torchrun("hwnas.cli.main", "run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'whole'}")
    assert "torchrun is for hwnas train alone" in whole.stderr
