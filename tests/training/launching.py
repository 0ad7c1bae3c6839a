"""torchrun as users start it: gloo processes on this machine, one launcher a machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.running import run_program

__all__ = ["ROOT", "errors_said", "free_port", "launch", "machines", "torchrun", "workers"]

ROOT = Path(__file__).parents[2]


def launch(*arguments: str, options: Sequence[str]) -> subprocess.Popen[str]:
    """torchrun with `options`, of the module that `arguments` begin with."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def torchrun(*arguments: str, processes: int = 2, restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """The same on one machine, finished; the launcher itself is forked where torch is imported already."""
    code = "import runpy; runpy.run_module('torch.distributed.run', run_name='__main__', alter_sys=True)"
    options = ("--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}")
    return run_program(code, *options, "-m", *arguments, cwd=ROOT)


def machines(port: int, count: str = "2", restarts: int = 0) -> tuple[str, ...]:
    """Options of each of the launchers that meet at `port`: `count` as `--nnodes` takes it, a process each."""
    return (
        f"--nnodes={count}", "--nproc-per-node=1", f"--max-restarts={restarts}", "--rdzv-backend=c10d",
        f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1",
        "--rdzv-conf=last_call_timeout=2,keep_alive_interval=1",
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def workers(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that it started, in the order of their ranks on that machine."""
    children = psutil.Process(launcher.pid).children()
    found = [child for child in children if "TORCHELASTIC_RUN_ID" in child.environ()]
    return sorted(found, key=lambda child: int(child.environ()["LOCAL_RANK"]))


def errors_said(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("hwnas: error:")]
