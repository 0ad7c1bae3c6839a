"""Search configs."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from hwnas.errors import ConfigError
from hwnas.search.config import EvolutionConfig, RandomSearchConfig, SearchConfig


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (EvolutionConfig, {"population": 1}),
        (EvolutionConfig, {"population": 0}),
        (EvolutionConfig, {"generations": -1}),
        (EvolutionConfig, {"parents": 0.0}),
        (EvolutionConfig, {"parents": 1.5}),
        (EvolutionConfig, {"mutations": -0.1}),
        (EvolutionConfig, {"mutation_probability": 0.0}),
        (EvolutionConfig, {"local_pairs": -1}),
        (RandomSearchConfig, {"samples": 0}),
        (SearchConfig, {"method": "evolutoin"}),
        (SearchConfig, {"budgets": [20.0, 0.0]}),
        (SearchConfig, {"budgets": (-1.0,)}),
        (SearchConfig, {"budgets": (float("nan"),)}),
        (SearchConfig, {"budget_quantiles": (0.5, 1.0)}),
        (SearchConfig, {"budget_quantiles": (0.0,)}),
        (SearchConfig, {"budget_quantiles": ()}),
        (SearchConfig, {"budget_samples": 3}),
        (SearchConfig, {"comparison_networks": -1}),
        (SearchConfig, {"comparison_tolerance": 0.0}),
        (SearchConfig, {"confidence": 1.0}),
    ],
)
def test_bad_configs_are_refused_in_one_line_that_names_the_key(kind: Any, change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**change)
    message = str(caught.value)
    assert "\n" not in message
    assert next(iter(change)) in message or "no budget" in message


def test_a_misspelt_method_is_corrected() -> None:
    with pytest.raises(ConfigError, match="did you mean 'evolution'"):
        SearchConfig(method="evolutoin")


def test_the_defaults_are_the_published_figures() -> None:
    config = EvolutionConfig()
    assert (config.population, config.generations, config.parent_count, config.mutations) == (100, 500, 25, 0.5)
    assert config.mutation_probability == 0.1
    assert EvolutionConfig(population=2).parent_count == 2


def test_configs_need_neither_numpy_nor_torch() -> None:
    code = (
        "import sys, hwnas.search.config, hwnas.accuracy.config;"
        "sys.exit(bool({'numpy', 'scipy', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
