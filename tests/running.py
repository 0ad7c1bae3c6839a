"""Other processes: `hwnas` as a user starts it, and one that holds a lock."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["held_by_another", "run_hwnas", "start_hwnas"]


def start_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status, by a new interpreter."""
    command = [sys.executable, "-m", "hwnas.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def run_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status: forked where the libraries are imported already."""
    if sys.platform != "linux":
        return start_hwnas(*arguments, cwd=cwd)
    given = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory(prefix="hwnas-said-") as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in said:
            path.touch()
        asked = {
            "arguments": given, "cwd": str(cwd or Path.cwd()), "environment": dict(os.environ),
            "stdout": str(said[0]), "stderr": str(said[1]),
        }  # fmt: skip
        status = _forked(json.dumps(asked))
        return subprocess.CompletedProcess(["hwnas", *given], status, *(path.read_text() for path in said))


@functools.cache
def _importer() -> subprocess.Popen[str]:
    """The process of tests/forked.py; it ends with this one, when nobody writes to it any more."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forked.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def _forked(asked: str) -> int:
    process = _importer()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(asked + "\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    try:
        return int(process.stdout.readline())
    except BaseException:  # a test that took too long, Ctrl-C: nobody reads the answer
        _importer.cache_clear()
        process.stdin.close()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        raise


@contextmanager
def held_by_another(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock file until the end, or until it is killed."""
    code = (
        "import sys, time, pathlib; from hwnas.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
