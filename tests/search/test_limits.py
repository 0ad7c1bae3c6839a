"""Constraints beside the budget: networks that meet them, and proofs that none does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hwnas.errors import HwnasError, InfeasibleBudgetError
from hwnas.search.config import SEARCHERS
from hwnas.search.limits import Limit, find_within, limited
from tests.search.test_searchers import CONFIG, run


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def limit(bench: Any, name: str, bound: float, additive: bool = True) -> Limit:
    """MACs, parameters or latency as a limit."""
    costs = {
        "macs": np.array([operator.macs for operator in bench.space.operators], dtype=float),
        "parameters": np.array([operator.parameters for operator in bench.space.operators], dtype=float),
        "latency_ms": bench.values_ms,
    }[name]
    factors = [(slot.genes, np.append(costs, 0.0)[slot.operator_ids]) for slot in bench.space.slots]
    return Limit(
        name, "ms" if name == "latency_ms" else name, lambda rows: bench.space.sum_over_operators(rows, costs), bound,
        factors=factors if additive else None,
    )  # fmt: skip


def least(bench: Any, name: str) -> float:
    one = limit(bench, name, 1.0)
    return min(float(one.value(bench.everything).min()), np.inf)


@pytest.mark.parametrize("method", SEARCHERS)
def test_every_searcher_stays_within_the_limits(full: Any, method: str) -> None:
    budget = full.quantile_ms(0.5)
    middle = full.space.sample(500, rng())
    bounds = {
        "macs": np.quantile(full.space.macs(middle), 0.3), "parameters": np.quantile(full.space.parameters(middle), 0.2)
    }  # fmt: skip
    limits = [limit(full, name, float(bound)) for name, bound in bounds.items()]
    anchor = find_within(full.space, [*limits, limit(full, "latency_ms", budget)], rng())
    config = replace(CONFIG, method=method)
    result = run(full, budget, config, latency_ms=limited(full.latency_ms, limits), fastest=anchor)
    archive = result.archive_genotypes
    assert full.space.macs(archive).max() <= bounds["macs"]
    assert full.space.parameters(archive).max() <= bounds["parameters"]
    assert full.latency_ms(archive).max() <= budget
    assert result.latency_ms == pytest.approx(full.latency_ms(result.genotype[None])[0])
    assert len(archive) > 20


@pytest.mark.parametrize("additive", [True, False])
def test_a_network_is_found_wherever_there_is_one(tiny: Any, additive: bool) -> None:
    macs, parameters = tiny.space.macs(tiny.everything), tiny.space.parameters(tiny.everything)
    for place in np.argsort(macs * parameters)[:: len(macs) // 12]:
        limits = [limit(tiny, "macs", float(macs[place]), additive),
                  limit(tiny, "parameters", float(parameters[place]), additive)]  # fmt: skip
        found = find_within(tiny.space, limits, rng())[None]
        assert all(each.load(found)[0] <= 1 for each in limits)


def test_limits_that_nothing_meets_are_proven_and_named(tiny: Any) -> None:
    limits = [limit(tiny, "macs", 0.9 * least(tiny, "macs")), limit(tiny, "latency_ms", tiny.quantile_ms(0.5))]
    with pytest.raises(
        InfeasibleBudgetError, match=r"macs <= .* and latency_ms <= .*\(proven\): the least macs"
    ) as caught:
        find_within(tiny.space, limits, rng())
    assert "\n" not in str(caught.value)
    arch = json.loads(str(caught.value).split("its arch: ")[1])
    assert tiny.space.genotype(arch).shape == tiny.fastest.shape


def test_limits_that_contradict_each_other_are_refused(tiny: Any) -> None:
    accurate = tiny.accuracy(tiny.everything)
    at_least = Limit("accuracy", "fraction", tiny.accuracy, float(np.quantile(accurate, 0.99)), more_is_better=True)
    small = limit(tiny, "macs", 1.001 * least(tiny, "macs"))
    both = tiny.everything[(at_least.load(tiny.everything) <= 1) & (small.load(tiny.everything) <= 1)]
    assert not len(both)
    with pytest.raises(InfeasibleBudgetError, match=r"accuracy >= .* and macs <= .*none was found"):
        find_within(tiny.space, [at_least, small], rng())
    assert at_least.load(find_within(tiny.space, [at_least], rng())[None])[0] <= 1


def test_a_limit_that_is_no_number_is_named(tiny: Any) -> None:
    broken = Limit("macs", "MACs", lambda rows: np.full(len(rows), np.nan), 5.0)
    with pytest.raises(HwnasError, match="constraint macs is not a number for"):
        limited(tiny.latency_ms, [broken])(tiny.everything[:3])
