"""Commands in processes of their own, and trainings of as many epochs as fit into given minutes of CPU."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hwnas.cli.commands import COMMANDS
from hwnas.files import read_json, write_json

__all__ = ["hwnas", "train_for"]

DECODING_EPOCHS, PROBED_EPOCHS = 0.05, (0.3, 1.3, 5.3)
PROBED_CPU_S = 20.0  # a start takes about 10 s, give or take 2


def hwnas(command: str, folder: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], float]:
    """A command as its users run it, in a process of its own: its result, and the seconds of CPU that it took."""
    used = (*COMMANDS[command].keys, "experiment", "seed")
    own = [setting for setting in overrides if setting.split("=")[0].split(".")[0] in used]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "hwnas.cli.main", command, *own, f"hydra.run.dir={folder}"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return read_json(folder / "result.json", RuntimeError)["result"], cpu_s


def train_for(
    minutes: float, settings: Sequence[str], phases: Callable[[float], str], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`hwnas train` for `minutes` of CPU, `phases` telling its setting by epochs: its result, and what was planned.

    Planned, and kept in `folder`, are the epochs that fit in by the CPU time of one: a run that goes on needs the same.
    With them stand the CPU seconds used, those of the start and the last evaluation among them, by all attempts that
    came to an end.
    """
    plan = folder / "plan.json"
    if plan.is_file():
        planned = json.loads(plan.read_text())
    else:
        epoch_s = _epoch_cpu_s(settings, phases)
        planned = {"epochs": round(60 * minutes / epoch_s, 3), "probed_epoch_cpu_s": round(epoch_s, 2), "cpu_s": 0.0}
        write_json(plan, planned)
    before = _written(folder / "train")
    result, cpu_s = hwnas("train", folder / "train", [*settings, phases(planned["epochs"])])
    if _written(folder / "train") != before:  # else it was up to date
        planned["cpu_s"] = round(planned["cpu_s"] + cpu_s, 1)
    write_json(plan, planned)
    return result, planned


def _written(folder: Path) -> int | None:
    """When its result was, if there is one."""
    path = folder / "result.json"
    return path.stat().st_mtime_ns if path.exists() else None


def _epoch_cpu_s(settings: Sequence[str], phases: Callable[[float], str]) -> float:
    """CPU seconds of an epoch, images included: what a longer training takes more than a short one.

    The short one is long enough to have met most shapes of a supernet's layers: each is slower when it is new.
    """
    with tempfile.TemporaryDirectory() as folder:

        def cpu_s(epochs: float) -> float:
            return hwnas("train", Path(folder) / str(epochs), [*settings, phases(epochs)])[1]

        cpu_s(DECODING_EPOCHS)  # the first of all decodes the images for those that follow
        short = cpu_s(PROBED_EPOCHS[0])
        for epochs in PROBED_EPOCHS[1:]:
            more = cpu_s(epochs) - short
            if more >= PROBED_CPU_S:
                break
    return more / (epochs - PROBED_EPOCHS[0])
