"""By how much the memory of a process grows while it hands out items: in an interpreter of its own.

    python benchmarks/scale_memory.py local 100000

prints the largest growth in MiB since the first items came back, which bring the workers and their pipes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig

__all__ = ["growth_mib"]

_WARM, _EVERY = 2000, 100


def growth_mib(kind: str, items: int) -> float:
    """The growth over `items` of an executor, of a kind, with two workers."""
    command = [sys.executable, str(Path(__file__)), kind, str(items)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout.split()[-1])


def answer(number: int) -> tuple[int, float]:
    """As small as work can be."""
    return number, number / 3


def _measured(kind: str, items: int) -> float:
    resident = psutil.Process().memory_info
    with open_executor(ExecutorConfig(kind, workers=2)) as executor:
        first = most = 0
        for done, _ in enumerate(executor.each("items", answer, iter(range(items + _WARM)))):
            if done == _WARM:
                first = most = resident().rss
            elif done > _WARM and done % _EVERY == 0:
                most = max(most, resident().rss)
    return (most - first) / 2**20


if __name__ == "__main__":
    print(round(_measured(sys.argv[1], int(sys.argv[2])), 2))
