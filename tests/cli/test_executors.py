"""Commands whose work an executor does: the same results, and what was finished before a fault is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.running import run_hwnas

SUBNETS = "evaluation.subnets=64"


def evaluated(run: Path, name: str, *arguments: str) -> dict[str, Any]:
    folder = run.parent / name / "evaluate"
    checkpoint = run / "train" / "supernet.safetensors"
    done = run_hwnas(
        "evaluate", "experiment=smoke", SUBNETS, f"checkpoint={checkpoint}", f"hydra.run.dir={folder}", *arguments
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())["result"]
    return {**result, "file": (folder / "accuracies.csv").read_text()}


@pytest.mark.slow
def test_every_executor_measures_the_same(smoke: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    here = evaluated(smoke, "here")
    assert len(here["accuracies"]) == 64
    assert here["file"].count("\n") == 65
    assert evaluated(smoke, "local", "executor.workers=2") == here
    assert evaluated(smoke, "ray", "executor=ray", "executor.workers=2") == here


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_command_and_what_was_finished_is_kept(
    smoke: Path, executor: str, number: signal.Signals
) -> None:
    if executor == "ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    folder = smoke / "evaluate"
    shutil.rmtree(folder)
    command = [
        sys.executable, "-m", "hwnas.cli.main", "evaluate", "experiment=smoke", "evaluation.subnets=100",
        f"hydra.run.dir={folder}", f"executor={executor}", "executor.workers=2",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (folder / "accuracies.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    group = psutil.Process(process.pid).children(recursive=True)
    # Two agents of Ray's, which do no work, outlive the rest for a while where nobody ends them.
    group = [one for one in group if not one.name().endswith("Agent")]
    assert len(group) >= 2
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    if number == signal.SIGINT:
        (line,) = errors.splitlines()
        assert "the same command goes on from there" in line
    _, alive = psutil.wait_procs(group, timeout=30)
    assert not alive
    kept = (folder / "accuracies.csv").read_text().splitlines()[1:]
    assert kept
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(kept) <= set((folder / "accuracies.csv").read_text().splitlines())


@pytest.mark.slow
def test_a_worker_that_is_killed(smoke: Path) -> None:
    """Processes of this machine end it in one line, and the same command goes on; on Ray nothing is to be seen."""
    shutil.rmtree(smoke / "evaluate")
    command = [
        sys.executable, "-m", "hwnas.cli.main", "evaluate", "experiment=smoke", "evaluation.subnets=100",
        f"hydra.run.dir={smoke / 'evaluate'}", "executor.workers=2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (smoke / "evaluate" / "accuracies.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [one for one in psutil.Process(process.pid).children() if "spawn_main" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[0].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith("hwnas: error: evaluate: a worker process died")
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
