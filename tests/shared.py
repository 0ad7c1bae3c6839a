"""What is slow to make, and made once between the processes of pytest-xdist."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

__all__ = ["common_folder", "made_once"]


def common_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder of this run of the tests, which all its processes have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(path: Path, make: Callable[[], object]) -> Path:
    """`path`, which the first process that asks for it makes, and writes last of all: the others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make()
    return path
