"""Runs whose processes change: more or fewer, killed and started again by torchrun, on one machine or two."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from hwnas.data.load import ImageData
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from hwnas.training.engine import train
from hwnas.training.state import read_history
from tests.training import tiny
from tests.training.launching import errors_said, free_port, launch, machines, torchrun, workers
from tests.training.test_killed import PHASE

CHANGES: dict[str, Any] = {"dropout": 0.1, "checkpoint_every": 1, "log_every": 1}
ARGUMENTS = (
    "hwnas.cli.main", "train", "experiment=smoke", "training=bignas_smoke", f"training.phases=[{PHASE}]",
    "training.accelerator=cpu", "training.optimiser=adamw", "training.ema_decay=0.99", "training.gradient_clip=1.0",
    "training.checkpoint_every=3", "training.log_every=1", "training.random_subnets=1", "data.augment.mixup=0.2",
)  # fmt: skip


def steps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["event"] == "steps"]


def finish(launchers: list[subprocess.Popen[str]], timeout: float = 240) -> list[tuple[str, str]]:
    """What they said, all of them ended, by themselves or, after the time, not."""
    try:
        return [launcher.communicate(timeout=timeout) for launcher in launchers]
    finally:
        for launcher in launchers:
            if launcher.poll() is None:
                for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
                    process.kill()


def wait_for(path: Path, pattern: str, launcher: subprocess.Popen[str], timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while not list(path.glob(pattern)):
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def assert_equal_weights(one: Path, other: Path) -> None:
    first, second = load_file(one / "supernet.safetensors"), load_file(other / "supernet.safetensors")
    assert first.keys() == second.keys()
    assert all(value.equal(second[name]) for name, value in first.items())


# torchrun's processes import torch, which takes most of the time. Two of them are in test_processes.py, as is which
# checkpoints another number of them goes on from.
@pytest.mark.slow
def test_one_process_two_and_one_again(space: OfaMbv3Space, data: ImageData, tmp_path: Path) -> None:
    config = replace(tiny.bignas(), **CHANGES)
    whole = train(config, space, data, tmp_path / "whole", 3, no_progress)
    folder, done = tmp_path / "changed", 0

    def stop(share: float, status: str) -> None:
        nonlocal done
        done += status.startswith("phase bignas (")
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, space, data, folder, 3, stop)
    assert max((folder / "checkpoints").iterdir()).name == "step-00000003.safetensors"
    # Two go on, until one of them is told to stop: both do, after the same step.
    options = ("--standalone", "--nproc-per-node=2")
    launcher = launch("tests.training.tiny", str(folder), "bignas", json.dumps(CHANGES), "0.5", options=options)
    wait_for(folder / "checkpoints", "step-00000006.*", launcher)
    workers(launcher)[1].send_signal(signal.SIGTERM)
    ((said, errors),) = finish([launcher])
    assert launcher.returncode != 0
    line = "training: 2 processes from step 3 on, 1 process before: a batch stays 24 images, 12 a process"
    assert said.count(line) == 1
    assert "ProcessLostError" not in errors
    lines: list[str] = []
    again = train(config, space, data, folder, 3, no_progress, say=lines.append)
    assert [line for line in lines if "1 process from step" in line and "2 processes before" in line]
    assert [row["step"] for row in again.history] == [row["step"] for row in whole.history]
    # Whatever the number: the batches, the nets drawn, and the learning rates, to the last bit.
    for key in ("learning_rate", "step"):
        assert [row[key] for row in steps(again.history)] == [row[key] for row in steps(whole.history)]
    losses = [[row["loss"] for row in steps(rows)] for rows in (again.history, whole.history)]
    assert losses[0] == pytest.approx(losses[1], rel=0.25)
    assert losses[0] != losses[1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_moments_torchrun_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    began = time.monotonic()
    done = torchrun(*ARGUMENTS, f"hydra.run.dir={tmp_path / 'whole'}")
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    moments = random.Random(1)
    for trial in range(4):
        folder = tmp_path / f"cut-{trial}"
        options = ("--standalone", "--nproc-per-node=2", "--max-restarts=3")
        launcher = launch(*ARGUMENTS, f"hydra.run.dir={folder}", options=options)
        for _ in range(2):
            time.sleep(moments.uniform(0.2, 0.9) * took_s)
            if launcher.poll() is None and (alive := workers(launcher)):
                moments.choice(alive).kill()
        ((_, errors),) = finish([launcher])
        assert launcher.returncode == 0, errors
        assert_equal_weights(tmp_path / "whole", folder)
        rows = [[row["step"] for row in read_history(path / "history.json")] for path in (tmp_path / "whole", folder)]
        assert rows[0] == rows[1]


@pytest.mark.slow
def test_two_machines_give_what_two_processes_of_one_do(tmp_path: Path) -> None:
    arguments = ("tests.training.tiny", "{folder}", "bignas", json.dumps({**CHANGES, "dropout": 0.0}), "0")
    one = torchrun(*(part.replace("{folder}", str(tmp_path / "one")) for part in arguments))
    assert one.returncode == 0, one.stderr
    options = machines(free_port())
    launchers = [
        launch(*(part.replace("{folder}", str(tmp_path / "two")) for part in arguments), options=options)
        for _ in range(2)
    ]
    said = finish(launchers)
    assert [launcher.returncode for launcher in launchers] == [0, 0], said
    assert_equal_weights(tmp_path / "one", tmp_path / "two")
    assert not list((tmp_path / "two").glob(".shared*"))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["folder", "seed", "accelerator"])
def test_a_machine_that_differs_is_said_once_and_all_end(case: str, tmp_path: Path) -> None:
    own = {
        "folder": [f"hydra.run.dir={tmp_path / name}" for name in ("one", "other")],
        "seed": ["seed=0", "seed=1"],
        "accelerator": ["training.shards=1", "training.accelerator=cuda"],
    }[case]
    expected = {
        "folder": "does not see what the first one writes to",
        "seed": "has other settings or data than the first: run.seed: expected",
        "accelerator": "training.accelerator",
    }[case]
    shared = () if case == "folder" else (f"hydra.run.dir={tmp_path / 'run'}",)
    options = machines(free_port())
    launchers = [launch(*ARGUMENTS, *shared, setting, options=options) for setting in own]
    said = finish(launchers)
    assert all(launcher.returncode for launcher in launchers), said
    lines = [line for _, errors in said for line in errors_said(errors)]
    assert len([line for line in lines if expected in line]) == 1, lines
    assert all(expected in line or "another process of this training ended" in line for line in lines), lines
