"""Other processes: `hwnas` as a user starts it, and one that holds a lock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["held_by_another", "run_hwnas"]


def run_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status."""
    command = [sys.executable, "-m", "hwnas.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


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
