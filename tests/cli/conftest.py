"""A finished run that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def smoke(smoke_output: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the finished smoke run."""
    return Path(shutil.copytree(smoke_output[0], tmp_path / "run"))
