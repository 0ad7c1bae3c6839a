"""`hwnas` in a process of its own, as a user starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["run_hwnas"]


def run_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status."""
    command = [sys.executable, "-m", "hwnas.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
