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


@pytest.fixture
def large_result(result: dict[str, Any]) -> dict[str, Any]:
    """Ten devices with five budgets each; one file was not measured, one is over its budget, sizes have two units."""
    devices = [f"board-{number}" for number in range(1, 11)]
    front, table = result["front"][0], result["tables"][0]
    targets = [
        result["targets"][budget % 2]
        | {"device": device, "budget": f"b{budget}", "budget_ms": 0.2 + 0.08 * budget, "bytes": 300_000 * (budget + 1)}
        | {"predicted_ms": 0.19 + 0.08 * budget, "measured_ms": 0.185 + 0.08 * budget + 0.001 * number, "drift": 1.0}
        for number, device in enumerate(devices)
        for budget in range(5)
    ]
    targets[3] |= {"measured_ms": None, "accuracy_exported": None, "parity_max_abs": None}
    targets[7] |= {"measured_ms": 2.0}
    return result | {
        "targets": targets,
        "front": [{**front, "device": device} for device in devices],
        "tables": [{**table, "device": device} for device in devices],
    }
