"""What can be an objective or a constraint."""

from __future__ import annotations

from typing import Any

import pytest

from hwnas.errors import ConfigError
from hwnas.search.config import SearchConfig
from hwnas.search.quantities import QUANTITIES, parse_quantity


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectives": ()}, "expected one or more"),
        ({"objectives": ("acuracy",)}, "did you mean 'accuracy'"),
        ({"objectives": ("macs", "macs")}, "macs stands there twice"),
        ({"constraints": {"marcs": 3.0}}, "did you mean 'macs'"),
        ({"constraints": {"macs": 0.0}}, "expected positive MACs"),
        ({"constraints": {"macs": -1.0}}, "expected positive MACs"),
        ({"constraints": {"parameters": float("nan")}}, "expected positive parameters"),
        ({"constraints": {"accuracy": 80.0}}, "expected a fraction"),
        ({"constraints": {"latency_ms": 20.0}}, "search.budgets"),
        ({"constraints": {"macs@pixel3": 1e8}}, "the same on every device"),
        ({"constraints": {"latency_ms@": 20.0}}, "expected a device after the @"),
    ],
)
def test_wrong_names_and_bounds_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SearchConfig(**change)
    assert "\n" not in str(caught.value)


def test_quantities_have_units_and_directions() -> None:
    assert parse_quantity("key", "latency_ms@pixel3") == (QUANTITIES["latency_ms"], "pixel3")
    assert [name for name, quantity in QUANTITIES.items() if quantity.more_is_better] == ["accuracy"]
    assert all(quantity.unit and quantity.meaning for quantity in QUANTITIES.values())
