"""The made-up result, fresh for every test."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location("report_example", Path(__file__).with_name("example.py"))
assert _spec is not None
assert _spec.loader is not None
_example = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_example)


@pytest.fixture
def result() -> dict[str, Any]:
    """A result with every optional part."""
    made: dict[str, Any] = _example.example_result()
    return made
