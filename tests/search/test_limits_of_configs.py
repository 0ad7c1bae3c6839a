"""Settings of searches: what is just allowed, what is just refused, and the defaults that figures stand on."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import pytest

from hwnas.errors import ConfigError
from hwnas.search.config import (
    BananasConfig,
    EvolutionConfig,
    IslandsConfig,
    LocalSearchConfig,
    NsgaConfig,
    RandomSearchConfig,
    RegularizedConfig,
    SearchConfig,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("kind", "key", "allowed", "refused"),
    [
        (EvolutionConfig, "population", (2,), (1,)),
        (EvolutionConfig, "generations", (0,), (-1,)),
        (EvolutionConfig, "parents", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (EvolutionConfig, "mutations", (0.0, 1.0), (-1e-9, 1.001)),
        (EvolutionConfig, "mutation_probability", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (EvolutionConfig, "local_pairs", (0,), (-1,)),
        (IslandsConfig, "generations", (0,), (-1,)),
        (IslandsConfig, "islands", (1,), (0,)),
        (IslandsConfig, "population", (2,), (1,)),
        (IslandsConfig, "children", (2,), (1,)),
        (IslandsConfig, "guided_children", (1,), (0,)),
        (IslandsConfig, "local_starts", (0,), (-1,)),
        (IslandsConfig, "local_pairs", (0,), (-1,)),
        (IslandsConfig, "apart", (0.0, 1.0), (-1e-9, 1.001)),
        (IslandsConfig, "mutations", (0.0, 1.0), (-1e-9, 1.001)),
        (IslandsConfig, "mutation_probability", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (IslandsConfig, "most_alike", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (IslandsConfig, "pressure", (1.0,), (0.999,)),
        (NsgaConfig, "population", (2,), (1,)),
        (NsgaConfig, "generations", (0,), (-1,)),
        (NsgaConfig, "mutation_probability", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (RandomSearchConfig, "samples", (1,), (0,)),
        (RegularizedConfig, "population", (25,), (1, 24)),  # of 25 in a tournament, of 10 children
        (RegularizedConfig, "tournament", (1, 100), (0, 101)),
        (RegularizedConfig, "children", (1, 100), (0, 101)),
        (RegularizedConfig, "evaluations", (1,), (0,)),
        (LocalSearchConfig, "starts", (1,), (0,)),
        (LocalSearchConfig, "pairs", (0,), (-1,)),
        (BananasConfig, "initial", (10, 200), (9, 201)),
        (BananasConfig, "evaluations", (20,), (19,)),
        (BananasConfig, "batch", (1,), (0,)),
        (BananasConfig, "candidates", (1,), (0,)),
        (BananasConfig, "parents", (1,), (0,)),
        (BananasConfig, "mutations", (1,), (0,)),
        (SearchConfig, "budgets", ((1e-9,), (5.0, 1.0)), ((0.0,), (5.0, -1.0), (NAN,), (INF,))),
        (SearchConfig, "budget_quantiles", ((1e-9,), (0.999,)), ((0.0,), (1.0,), (0.5, 1.5))),
        (SearchConfig, "budget_samples", (10,), (9,)),
        (SearchConfig, "comparison_networks", (0,), (-1,)),
        (SearchConfig, "comparison_tolerance", (1e-9, 0.999), (0.0, -0.5, 1.0, 1.5)),
        (SearchConfig, "confidence", (1e-9, 0.999), (0.0, -0.5, 1.0, 1.5)),
        (SearchConfig, "evaluate_top", (0,), (-1,)),
        (SearchConfig, "constraints", ({"accuracy": 1.0}, {"macs": 1.5}), ({"accuracy": 1.001}, {"macs": 0.0})),
        (SearchConfig, "constraints", ({"latency_ms@other": 2.0},), ({"latency_ms": 2.0}, {"macs": INF})),
    ],
)
def test_limits(kind: Any, key: str, allowed: tuple[object, ...], refused: tuple[object, ...]) -> None:
    for value in allowed:
        assert getattr(kind(**{key: value}), key) == value
    for value in refused:
        with pytest.raises(ConfigError, match=r"expected|a budget"):
            kind(**{key: value})


def test_a_regularized_population_of_two_is_enough() -> None:
    assert RegularizedConfig(population=2, tournament=2, children=2).population == 2


def test_one_of_budgets_and_quantiles_is_enough() -> None:
    assert SearchConfig(budgets=(3.0,), budget_quantiles=()).budgets == (3.0,)
    with pytest.raises(ConfigError, match="no budget"):
        SearchConfig(budget_quantiles=())


@pytest.mark.parametrize(
    "config",
    [
        BananasConfig(), EvolutionConfig(), IslandsConfig(), LocalSearchConfig(), NsgaConfig(), RandomSearchConfig(),
        RegularizedConfig(), SearchConfig(),
    ],
)  # fmt: skip
def test_settings_stay_as_they_were_checked(config: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, 0)


def test_parents_are_a_share_and_two_at_least() -> None:
    assert EvolutionConfig(population=100, parents=0.07).parent_count == 7
    assert EvolutionConfig(population=100, parents=0.02).parent_count == 2
    assert EvolutionConfig(population=100, parents=0.001).parent_count == 2


def test_defaults_are_those_that_were_measured() -> None:
    """The figures of searches in benchmarks/results hold for these; a change of one is one of behaviour."""
    assert asdict(SearchConfig()) == {
        "method": "islands", "objectives": ("accuracy", "latency_ms"), "constraints": {}, "budgets": (),
        "budget_quantiles": (0.25, 0.75), "budget_samples": 10_000, "comparison_networks": 10,
        "comparison_tolerance": 0.05, "confidence": 0.5, "upper_bound": False, "evaluate_top": 0,
        "islands": {
            "generations": 200, "islands": 3, "population": 50, "most_alike": 0.25, "children": 72,
            "guided_children": 4, "apart": 0.6, "mutations": 0.3, "mutation_probability": 0.1, "pressure": 1.5,
            "local_starts": 1, "local_pairs": 500,
        },
        "evolution": {
            "population": 100, "generations": 500, "parents": 0.25, "mutations": 0.5, "mutation_probability": 0.1,
            "local_search": True, "local_pairs": 1000,
        },
        "regularized": {"population": 100, "tournament": 25, "children": 10, "evaluations": 10_000},
        "nsga2": {"population": 200, "generations": 300, "mutation_probability": 0.04},
        "local": {"starts": 20, "pairs": 300},
        "bananas": {
            "initial": 20, "batch": 20, "evaluations": 200, "candidates": 500, "parents": 10, "mutations": 3
        },
        "random": {"samples": 50_000},
    }  # fmt: skip
