"""Evolution: how good, how fast, and its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.search.config import EvolutionConfig, RandomSearchConfig
from hwnas.search.methods.evolution import evolve
from hwnas.search.methods.random_search import random_search


def evolved(bench: Any, budget_ms: float, config: EvolutionConfig, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    return evolve(bench.problem(budget_ms), config, rng)


@pytest.mark.parametrize("quantile", [0.02, 0.25, 0.75])
def test_finds_the_optimum_of_a_space_that_can_be_enumerated(tiny: Any, quantile: float) -> None:
    budget = tiny.quantile_ms(quantile)
    feasible = tiny.everything[tiny.latency_ms(tiny.everything) <= budget]
    for seed in range(3):
        result = evolved(tiny, budget, EvolutionConfig(generations=60), seed)
        assert result.accuracy == pytest.approx(tiny.accuracy(feasible).max(), abs=1e-9)


@pytest.mark.parametrize("quantile", [0.01, 0.5])
def test_beats_random_search_with_fewer_evaluations(full: Any, quantile: float) -> None:
    budget = full.quantile_ms(quantile)
    result = evolved(full, budget, EvolutionConfig(generations=150))
    rng = np.random.default_rng(0)
    config = RandomSearchConfig(samples=40_000)
    random = random_search(full.problem(budget), config, rng)
    assert result.accuracy > random.accuracy + 0.005
    assert result.evaluations < 40_000


def test_seeds_agree(full: Any) -> None:
    budget = full.quantile_ms(0.25)
    found = [evolved(full, budget, EvolutionConfig(generations=200), seed).accuracy for seed in range(3)]
    assert max(found) - min(found) < 0.005


def test_history_has_every_generation(full: Any) -> None:
    result = evolved(full, full.quantile_ms(0.25), EvolutionConfig())
    assert len(result.history.accuracy) == 502  # the first population, 500 generations, the local search


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), slack=st.floats(1.0, 1.5))
def test_repair_always_ends_within_the_budget(full: Any, seed: int, slack: float) -> None:
    rng = np.random.default_rng(seed)
    budget = slack * float(full.latency_ms(full.fastest[None])[0])
    problem = full.problem(budget)
    rows = np.concatenate([full.space.sample(20, rng), full.fastest[None]])
    repaired, latency = problem.repair(rows, rng)
    assert latency.max() <= budget
    assert np.allclose(latency, full.latency_ms(repaired))
    kept = full.latency_ms(rows) <= budget
    assert np.array_equal(repaired[kept], rows[kept])
    assert np.array_equal(full.space.canonical(repaired), repaired)


def test_repair_takes_no_more_than_it_must(full: Any) -> None:
    rng = np.random.default_rng(0)
    rows = full.space.sample(500, rng)
    budget = full.quantile_ms(0.5)
    _, latency = full.problem(budget).repair(rows, rng)
    over = full.latency_ms(rows) > budget
    assert 0.3 < over.mean() < 0.7
    # Most stay near the budget instead of falling to the fastest.
    assert np.median(latency[over]) > 0.8 * budget


def test_a_latency_that_changes_its_mind_ends_with_an_error(full: Any) -> None:
    calls = iter(range(1_000_000))

    def rising(genotypes: np.ndarray) -> np.ndarray:
        found: np.ndarray = full.latency_ms(genotypes) + next(calls) * 1e6
        return found

    budget = 1.01 * float(full.latency_ms(full.fastest[None])[0])
    problem = full.problem(budget, latency_ms=rising)
    with pytest.raises(Exception, match="two different latencies"):
        problem.repair(full.space.sample(5, np.random.default_rng(0)), np.random.default_rng(0))
