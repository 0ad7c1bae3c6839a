"""Searchers and their parts in spaces so small that what they must do can be counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from itertools import product
from typing import Any

import numpy as np
import pytest

from hwnas.errors import HwnasError
from hwnas.search.budgets import Budget, resolve_budgets, sample_near_latency
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
from hwnas.search.limits import Limit
from hwnas.search.methods import islands as islands_module
from hwnas.search.methods.bananas import bananas
from hwnas.search.methods.evolution import evolve
from hwnas.search.methods.exact import ExactResult, additive_weights, search_exact
from hwnas.search.methods.guided import Guide
from hwnas.search.methods.islands import _prices, evolve_islands
from hwnas.search.methods.local import improve
from hwnas.search.methods.local_search import local_search
from hwnas.search.methods.nsga2 import crowding, nsga2, ranks
from hwnas.search.methods.random_search import random_search
from hwnas.search.methods.regularized import mutate_groups, regularized_evolution
from hwnas.search.population import Archive, Population, Score, ranked
from hwnas.search.problem import Problem
from hwnas.search.quantities import QUANTITIES
from hwnas.search.result import Recorder
from hwnas.search.searchers import search_budgets
from hwnas.search.selection import Selection
from hwnas.spaces import Genotypes, OfaMbv3Config, make_space
from hwnas.spaces.categorical import CategoricalSpace
from hwnas.spaces.space import Floats

Objective = Callable[[Genotypes], Floats]


def digits(genes: int, choices: int) -> CategoricalSpace:
    return CategoricalSpace("digits", {f"g{gene}": [str(c) for c in range(choices)] for gene in range(genes)})


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ones(rows: Genotypes) -> Floats:
    """How many genes are not 0: a latency of which all-zero is the fastest, 1 ms for each."""
    return np.asarray((rows != 0).sum(axis=1) + 1.0)


def weighted(rows: Genotypes) -> Floats:
    return 0.1 + rows @ (2.0 ** np.arange(rows.shape[1])) / 1e4


def problem(
    space: CategoricalSpace, budget: float, accuracy: Objective = weighted, latency: Objective = ones
) -> Problem:
    return Problem(space, accuracy, latency, budget, np.zeros(len(space.genes), dtype=np.int64))


def test_repair_takes_one_two_four_genes_of_the_fastest() -> None:
    space, seen = digits(12, 3), []

    def watched(rows: Genotypes) -> Floats:
        seen.append((rows != 0).sum(axis=1).tolist())
        return ones(rows)

    task = problem(space, 1.0, latency=watched)
    seen.clear()
    start = np.full((3, 12), 2)
    repaired, latency = task.repair(start, rng())
    assert seen == [[12] * 3, [11] * 3, [10] * 3, [8] * 3, [4] * 3, [0] * 3]
    assert not repaired.any()
    assert latency.tolist() == [1.0] * 3
    assert (start == 2).all()
    # A budget of 9 ms is eight genes: four are taken, of each network others.
    repaired, latency = problem(space, 9.0).repair(np.full((200, 12), 2), rng())
    assert latency.tolist() == [9.0] * 200
    taken = (repaired == 0).mean(axis=0)
    assert taken == pytest.approx(np.full(12, 1 / 3), abs=0.12)
    # On the budget is within it.
    assert np.array_equal(problem(space, 13.0).repair(start, rng())[0], start)


def test_the_fastest_is_within_a_budget_that_it_takes_in_full() -> None:
    space = digits(3, 2)
    assert problem(space, 1.0).budget_ms == 1.0
    known = problem(space, 1.0).starts(np.array([[1, 0, 1]]))
    assert known.tolist() == [[0, 0, 0], [1, 0, 1]]
    assert problem(space, 1.0).starts(None).tolist() == [[0, 0, 0]]


def test_mutation_changes_so_many_groups_each_as_often() -> None:
    space = digits(8, 3)
    rows = np.ones((4000, 8), dtype=np.int64)
    counts = np.repeat([1, 2, 3, 8], 1000)
    children = mutate_groups(space, rows, counts, rng())
    changed = children != rows
    assert np.array_equal(changed.sum(axis=1), counts)
    assert changed[:1000].mean(axis=0) == pytest.approx(np.full(8, 1 / 8), abs=0.04)
    # Both other choices, each as often.
    assert np.mean(children[3000:] == 0) == pytest.approx(0.5, abs=0.03)


def test_mutation_leaves_genes_without_a_choice_or_effect() -> None:
    space = CategoricalSpace("two", {"fixed": ["a"], "free": ["a", "b"], "other": ["a", "b"]})
    rows = np.zeros((100, 3), dtype=np.int64)
    children = mutate_groups(space, rows, np.full(100, 2), rng())
    assert children.tolist() == [[0, 1, 1]] * 100
    deep = make_space(OfaMbv3Config())
    shallow = deep.canonical(np.zeros((300, len(deep.genes)), dtype=np.int64))
    moved = mutate_groups(deep, shallow, np.ones(300, dtype=np.int64), rng()) != shallow
    assert moved.any(axis=1).mean() > 0.95
    # A block is one group: kernel and expansion may move together, two blocks never.
    groups = [gene.group for gene in deep.genes]
    assert all(len({groups[gene] for gene in np.flatnonzero(row & deep.active(shallow)[0])}) <= 1 for row in moved)


def test_crowding_by_hand() -> None:
    # One front of four: neighbours of the second are 0 and 4 of 10 apart, and 10 and 5 of 10; of the third 1 and 10.
    values = np.array([[0.0, 10.0], [1.0, 7.0], [4.0, 5.0], [10.0, 0.0]])
    found = crowding(values, np.zeros(4, dtype=np.int64))
    assert found[[0, 3]].tolist() == [np.inf, np.inf]
    assert found[[1, 2]] == pytest.approx([0.4 + 0.5, 0.9 + 0.7])
    flat = np.array([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [3.0, 5.0]])
    assert crowding(flat, np.zeros(4, dtype=np.int64))[1] == pytest.approx(1.0 + 0)
    assert ranks(np.array([[2.0, 2.0], [1.0, 1.0], [3.0, 3.0]]), 3).tolist() == [1, 0, 2]
    assert ranks(np.array([[2.0, 2.0], [1.0, 1.0], [3.0, 3.0], [4.0, 4.0]]), 2).tolist() == [1, 0, 2, 2]


def test_ranking_prefers_accuracy_then_speed_then_age() -> None:
    assert ranked(np.array([0.5, 0.7, 0.7, 0.7, 0.9]), np.array([1.0, 3.0, 2.0, 2.0, 9.0])).tolist() == [4, 2, 3, 1, 0]


def test_an_archive_claims_once() -> None:
    archive = Archive()
    rows = np.array([[0, 1], [0, 1], [1, 0]])
    assert archive.claim(rows).tolist() == [True, False, True]
    assert archive.claim(np.array([[1, 0], [300, 0], [44, 0]])).tolist() == [False, True, True]  # 300 is no 44
    assert archive.holds(np.array([[0, 1], [9, 9]])).tolist() == [True, False]
    assert (len(archive), archive.added) == (4, 0)
    archive.add(Population(rows[[0, 2]], np.array([0.1, 0.2]), np.array([1.0, 2.0])))
    assert archive.added == 2
    kept = archive.population()
    assert kept.genotypes.tolist() == [[0, 1], [1, 0]]
    assert (kept.accuracy.tolist(), kept.latency_ms.tolist()) == ([0.1, 0.2], [1.0, 2.0])


def recorded() -> Recorder:
    archive = Archive()
    recorder = Recorder(archive)
    steps = [
        ([[0], [1]], [0.3, 0.5], [1.0, 4.0]),
        ([[2]], [0.6], [6.0]),
        ([[3], [4]], [0.4, 0.5], [2.0, 3.0]),
    ]
    best = [(0.5, 4.0), (0.5, 4.0), (0.5, 3.0)]
    for (rows, accuracy, latency), so_far in zip(steps, best, strict=True):
        archive.claim(np.array(rows))
        archive.add(Population(np.array(rows), np.array(accuracy), np.array(latency)))
        recorder.record(Score(*so_far))
    return recorder


def test_a_result_holds_what_is_within_its_budget() -> None:
    result = recorded().result(4.0)
    assert result.genotype.tolist() == [4]  # as accurate as [1], and faster
    assert (result.accuracy, result.latency_ms, result.evaluations) == (0.5, 3.0, 5)
    assert result.archive_genotypes.ravel().tolist() == [0, 1, 3, 4]
    assert result.history.evaluations.tolist() == [2, 3, 5]
    assert result.history.archived.tolist() == [2, 2, 4]
    assert result.best(2).tolist() == [3, 1]
    assert recorded().result().genotype.tolist() == [2]
    assert result.history.to_dict(np.array([2]))["accuracy"] == [0.5]


def test_the_history_has_the_area_found_so_far() -> None:
    result = recorded().result(4.0)
    told = result.history_dict(3, 0.1, 5.0)
    # To (0.1, 5 ms): 0.2 high from 1 ms and 0.2 more from 4; then 0.1 more at 2 ms and the last 0.1 at 3.
    first = 0.2 * 4 + 0.2 * 1
    assert told["hypervolume"] == pytest.approx([first, first, 0.2 * 4 + 0.1 * 3 + 0.1 * 2])
    assert told["evaluations"] == [2, 3, 5]
    assert result.history_dict(2, 0.1, 5.0)["evaluations"] == [2, 5]
    assert result.history_dict(99, 0.1, 5.0)["evaluations"] == [2, 3, 5]


def test_load_is_a_share_of_the_limit() -> None:
    rows = np.zeros((3, 1), dtype=np.int64)
    most = Limit("macs", "MACs", lambda _: np.array([5.0, 10.0, 12.0]), 10.0)
    assert most.load(rows) == pytest.approx([0.5, 1.0, 1.2])
    least = Limit("accuracy", "fraction", lambda _: np.array([0.5, 0.8, 0.0]), 0.8, more_is_better=True)
    assert least.load(rows) == pytest.approx([1 + 0.3 / 0.8, 1.0, 2.0])
    assert (str(most), str(least)) == ("macs <= 10 MACs", "accuracy >= 0.8 fraction")
    nan = Limit("macs", "MACs", lambda _: np.array([np.nan, 1.0, np.nan]), 10.0)
    with pytest.raises(HwnasError, match="not a number for 2 of 3 networks"):
        nan.load(rows)


def test_quantities_say_where_they_go() -> None:
    assert {name: (one.sign, one.relation, one.per_device) for name, one in QUANTITIES.items()} == {
        "accuracy": (-1.0, "at least", False),
        "latency_ms": (1.0, "at most", True),
        "energy_mj": (1.0, "at most", True),
        "macs": (1.0, "at most", False),
        "parameters": (1.0, "at most", False),
        "peak_activation_bytes": (1.0, "at most", False),
        "file_bytes": (1.0, "at most", False),
    }


def test_budgets_are_quantiles_to_three_digits_that_the_fastest_meets() -> None:
    space = CategoricalSpace("one", {"g": [str(choice) for choice in range(101)]})

    def latency(rows: Genotypes) -> Floats:
        return 1.0 + rows[:, 0] / 128

    config = SearchConfig(budget_quantiles=(0.25, 0.5, 0.9), budget_samples=40_000)
    found = resolve_budgets(space, latency, config, rng())
    assert [budget.name for budget in found] == ["q25", "q50", "q90"]
    assert [budget.budget_ms for budget in found] == pytest.approx(
        [1 + share * 100 / 128 for share in (0.25, 0.5, 0.9)], abs=0.02
    )
    assert all(budget.budget_ms == round(budget.budget_ms, 2) for budget in found)
    assert found[0].to_dict() == {"name": "q25", "budget_ms": found[0].budget_ms, "quantile": 0.25}
    # What the fastest doesn't meet is raised to it, and what then is no wider than the one before is left out.
    raised = resolve_budgets(space, latency, config, rng(), least_ms=1.5001)
    assert [budget.budget_ms for budget in raised] == pytest.approx([1.51, found[2].budget_ms])
    assert [budget.quantile for budget in raised] == [0.25, 0.9]
    assert resolve_budgets(space, latency, config, rng(), least_ms=123.4)[0].budget_ms == 124.0
    assert resolve_budgets(space, latency, config, rng(), least_ms=123.0)[0].budget_ms == 123.0
    given = resolve_budgets(space, latency, SearchConfig(budgets=(3.0, 1.0, 2.0)), rng())
    assert [(budget.name, budget.budget_ms, budget.quantile) for budget in given] == [
        ("1ms", 1.0, None), ("2ms", 2.0, None), ("3ms", 3.0, None),
    ]  # fmt: skip


def test_networks_near_a_latency_are_the_first_ones_drawn_up_to_the_edge() -> None:
    space = digits(10, 2)
    near = sample_near_latency(space, ones, 5.0, 0.2, 2000, rng(), most_draws=40_000)
    expected = [row for row in product(range(2), repeat=10) if 4 <= 1 + sum(row) <= 6]
    assert {tuple(row) for row in near.tolist()} == set(expected)
    some = sample_near_latency(space, ones, 5.0, 0.2, 7, rng())
    assert np.array_equal(some, near[:7])
    assert len(sample_near_latency(space, ones, 5.0, 0.2, 0, rng())) == 0
    without = sample_near_latency(space, ones, 5.0, 0.2, 2000, rng(), most_draws=40_000, excluded=near[:5])
    assert len(without) == len(near) - 5
    # As many draws as asked for, no more: of one draw there is one at most.
    assert 1 <= len(sample_near_latency(space, ones, 5.0, 0.99, 10, rng(), most_draws=3)) <= 3


def additive(space: CategoricalSpace, seed: int) -> tuple[Objective, list[Floats]]:
    weights = rng(seed).normal(size=(len(space.genes), int(space.cardinalities.max())))
    return (lambda rows: 0.5 + weights[np.arange(rows.shape[1]), rows].sum(axis=1) / 100), list(weights)


def optimum(space: CategoricalSpace, accuracy: Objective, budget: float) -> float:
    every = np.array(list(product(*(range(int(count)) for count in space.cardinalities))))
    return float(accuracy(every)[ones(every) <= budget].max())


def test_climbing_takes_single_changes_then_pairs_within_the_budget() -> None:
    """Three genes worth 3, 4 and 5; a budget for one of them. From the first, an exchange leads to the third."""
    space = digits(3, 2)

    def accuracy(rows: Genotypes) -> Floats:
        return np.asarray(0.1 * (rows @ np.array([3.0, 4.0, 5.0])))

    task, start = problem(space, 2.0, accuracy), np.array([1, 0, 0])
    assert improve(task, Archive(), start, 0) == pytest.approx((0.3, 2.0))
    archive = Archive()
    assert improve(task, archive, start, 1) == pytest.approx((0.5, 2.0))
    # The most promising pair first: with one pair a round the third gene comes at once.
    rows = archive.population().genotypes.tolist()
    assert [0, 0, 1] in rows
    assert [0, 1, 0] not in rows[:1]
    assert [1, 1, 0] not in rows  # over the budget: evaluated, not kept
    assert improve(problem(space, 4.0, accuracy), Archive(), start, 0) == pytest.approx((1.2, 4.0))
    assert improve(problem(space, 4.0, lambda rows: np.full(len(rows), 0.5)), Archive(), start, 0) == (0.5, 1.0)


@pytest.mark.parametrize("seed", range(3))
def test_islands_find_the_optimum_of_many_budgets(seed: int) -> None:
    space = digits(7, 3)
    accuracy, _ = additive(space, seed)
    budgets = [2.0, 4.0, 6.0]
    config = IslandsConfig(generations=30, islands=2, population=10, children=24, local_starts=0)
    results = evolve_islands([problem(space, budget, accuracy) for budget in budgets], config, rng(seed))
    assert [result.accuracy for result in results] == pytest.approx([optimum(space, accuracy, b) for b in budgets])
    assert all(result.archive_latency_ms.max() <= budget for result, budget in zip(results, budgets, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_searchers_find_the_optimum_of_one_budget(seed: int) -> None:
    space = digits(6, 3)
    accuracy, _ = additive(space, seed)
    best = pytest.approx(optimum(space, accuracy, 4.0))
    task = problem(space, 4.0, accuracy)
    bare = EvolutionConfig(population=20, generations=40, local_search=False)
    assert evolve(task, bare, rng(seed)).accuracy == best
    assert (
        nsga2([task], NsgaConfig(population=30, generations=30, mutation_probability=0.2), rng(seed))[0].accuracy
        == best
    )
    assert local_search(task, LocalSearchConfig(starts=3, pairs=100), rng(seed)).accuracy == best
    settings = RegularizedConfig(population=20, tournament=5, children=5, evaluations=400)
    assert regularized_evolution(task, settings, rng(seed)).accuracy == best


def test_regularized_evolution_counts_what_is_new_and_lets_the_oldest_die() -> None:
    space = digits(8, 4)
    result = regularized_evolution(
        problem(space, 9.0), RegularizedConfig(population=10, tournament=3, children=4, evaluations=103), rng()
    )
    assert result.evaluations == 103
    assert result.history.evaluations[0] == 11  # the fastest, and ten random ones
    assert np.diff(result.history.evaluations).max() == 4
    few = regularized_evolution(
        problem(digits(2, 2), 9.0), RegularizedConfig(population=4, tournament=2, children=2, evaluations=99), rng()
    )
    assert few.evaluations == 4  # all there are: then 50 generations bring nothing
    assert (np.diff(few.history.evaluations[::-1]) == 0)[:49].all()
    assert len(few.history.evaluations) <= 60


def test_random_search_counts_its_samples() -> None:
    space = digits(10, 4)
    shares: list[float] = []
    result = random_search(
        problem(space, 99.0), RandomSearchConfig(samples=12_000), rng(), lambda share, _: shares.append(share)
    )
    assert shares == pytest.approx([0.0, 5 / 12, 10 / 12, 1.0])
    generator = rng()
    drawn = np.concatenate([space.sample(size, generator) for size in (5000, 5000, 2000)])
    assert result.evaluations == len(np.unique(np.concatenate([drawn, np.zeros((1, 10), dtype=np.int64)]), axis=0))


def test_bananas_learns_from_all_and_asks_for_what_is_likely_best() -> None:
    space, told = digits(6, 3), []
    accuracy, _ = additive(space, 0)

    def surrogate(
        rows: Genotypes, found: Floats, _: np.random.Generator
    ) -> Callable[[Genotypes], tuple[Floats, Floats]]:
        told.append((len(rows), found))
        assert np.array_equal(found, accuracy(rows))
        return lambda asked: (accuracy(asked), np.zeros(len(asked)))

    config = BananasConfig(initial=12, batch=5, evaluations=40, candidates=300, parents=4, mutations=2)
    result = bananas(problem(space, 5.0, accuracy), config, rng(), surrogate=surrogate)
    assert result.evaluations == 40
    assert result.accuracy == pytest.approx(optimum(space, accuracy, 5.0))
    first = told[0][0]
    assert [rows for rows, _ in told] == list(range(first, 40, 5))
    # A surrogate that knows the truth: each batch's best are no worse than its rest, and the last one can be small.
    assert np.diff(result.history.evaluations).tolist() == [5] * ((40 - first) // 5) + [(40 - first) % 5] * bool(
        (40 - first) % 5
    )


def test_guided_children_follow_slopes_and_prices() -> None:
    """The third choice is worth 30 and costs 2 ms, the first costs nothing: at 40 a millisecond it is the best."""
    space = digits(5, 3)
    worth = np.array([[0.0, 0.0, 30.0]] * 5, dtype=np.float32)

    def latency(rows: Genotypes) -> Floats:
        return np.asarray(rows.sum(axis=1), dtype=float)

    guide = Guide(space, latency, np.zeros(5, dtype=np.int64), lambda rows: np.stack([worth] * len(rows)), rng())
    parents = np.ones((400, 5), dtype=np.int64)
    repeated, children = guide.children(parents, np.repeat([0.0, 10.0, 20.0, 40.0], 100), 2, rng(1))
    assert np.array_equal(repeated, np.ones((800, 5)))
    taken = [float(latency(part).mean()) for part in np.split(children, 4)]
    assert taken == sorted(taken, reverse=True)
    assert taken[0] > 8
    assert taken[3] < 2.5
    # Genes of which the predictor says nothing stay the parent's, but for a mutation in fifty.
    silent = worth.copy()
    silent[3] = 0
    guide = Guide(space, latency, np.zeros(5, dtype=np.int64), lambda rows: np.stack([silent] * len(rows)), rng())
    _, children = guide.children(parents, np.zeros(400), 5, rng(2))
    assert np.mean(children[:, 3] != 1) == pytest.approx(0.02, abs=0.012)
    assert np.mean(children[:, 2] == 2) > 0.8


def test_settled_networks_make_the_most_of_their_budgets() -> None:
    space = digits(6, 3)
    cost = np.array([0.0, 1.0, 2.0])
    worth = np.array([[0.0, 1.0 + gene, 1.5 + gene] for gene in range(6)], dtype=np.float32)

    def latency(rows: Genotypes) -> Floats:
        return np.asarray(cost[rows].sum(axis=1))

    guide = Guide(space, latency, np.zeros(6, dtype=np.int64), lambda rows: np.stack([worth] * len(rows)), rng())
    budgets = np.array([3.0, 6.0, 12.0, 0.5])
    start = np.zeros((4, 6), dtype=np.int64)
    assert not space.shared_genes.any()
    rows = guide.settle(start, budgets)
    assert (latency(rows) <= budgets).all()
    # The first milliseconds go to the genes worth most: 4, 5 and 6 for one each.
    assert rows[0].tolist() == [0, 0, 0, 1, 1, 1]
    assert rows[1].tolist() == [1] * 6
    assert latency(rows)[2] >= 6


def test_a_tighter_budgets_best_is_handed_to_the_wider() -> None:
    space = digits(6, 3)
    accuracy, _ = additive(space, 1)
    tasks = [problem(space, budget, accuracy) for budget in (3.0, 5.0)]
    config = SearchConfig(method="random", random=RandomSearchConfig(samples=30))
    shares: list[float] = []
    results, evaluations, seconds = search_budgets(tasks, config, rng(), lambda share, _: shares.append(share))
    assert any((row == results[0].genotype).all() for row in results[1].archive_genotypes)
    assert evaluations == sum(result.evaluations for result in results)
    assert seconds == pytest.approx(sum(result.elapsed_s for result in results))
    assert shares == pytest.approx([0, 0.5, 0.5, 1.0])
    shared, evaluations, seconds = search_budgets(
        tasks, SearchConfig(islands=IslandsConfig(generations=2, islands=1, population=5)), rng()
    )
    assert {result.evaluations for result in shared} == {evaluations}
    assert seconds == max(result.elapsed_s for result in shared)


def test_where_most_exceeds_the_limits_costs_are_learnt_towards_the_fastest() -> None:
    """The fastest alone is within: others take a quarter of its genes, a half, three quarters, 0.9 and all of them."""
    space, shares = digits(10, 2), []

    def latency(rows: Genotypes) -> Floats:
        shares.append(float((rows == 0).mean()))
        return np.where((rows == 0).all(axis=1), 1.0, np.inf)

    Guide(space, latency, np.zeros(10, dtype=np.int64), lambda rows: np.zeros((len(rows), 10, 2), np.float32), rng())
    # Half of the genes are the fastest's by chance.
    assert shares[:6] == pytest.approx(
        [0.5, *(share + (1 - share) / 2 for share in (0.25, 0.5, 0.75, 0.9, 1.0))], abs=0.02
    )
    shares.clear()
    Guide(space, ones, np.zeros(10, dtype=np.int64), lambda rows: np.zeros((len(rows), 10, 2), np.float32), rng())
    assert shares == []


def test_a_millisecond_is_worth_the_slope_between_budgets() -> None:
    """Gradients of uneven steps by the second-order formula; a quarter to four times what it is worth on the whole."""

    def population(best: float, worst: float) -> Population:
        return Population(np.zeros((2, 1), dtype=np.int64), np.array([best, worst]), np.ones(2))

    island = [population(0.5, 0.4), population(0.6, 0.1), population(0.62, 0.2)]
    middle = (100 * 0.62 + 300 * 0.6 - 400 * 0.5) / (10 * 20 * 30)
    assert _prices(island, np.array([10.0, 20.0, 40.0])) == pytest.approx([0.01, middle, 0.001])
    steep = [population(0.5, 0.4), population(0.501, 0.4), population(0.9, 0.4)]
    typical = 0.4 / 30
    found = _prices(steep, np.array([10.0, 20.0, 40.0]))
    assert found[0] == pytest.approx(typical / 4)
    jumping = [population(0.0, 0.0), population(0.9, 0.0), population(0.2, 0.0)]
    assert _prices(jumping, np.array([10.0, 20.0, 40.0]))[0] == pytest.approx(4 * 0.2 / 30)
    # One budget: the population's spread over a twentieth of it.
    assert _prices([population(0.5, 0.4)], np.array([10.0])) == pytest.approx([0.1 / 0.5])
    assert _prices([population(0.5, 0.5)], np.array([10.0])) == pytest.approx([1e-9 / 0.5])


def test_a_climb_ends_where_nothing_is_gained() -> None:
    space, calls = digits(4, 2), []

    def accuracy(rows: Genotypes) -> Floats:
        calls.append(len(rows))
        return np.full(len(rows), 0.5)

    task = Problem(space, accuracy, lambda rows: np.full(len(rows), 2.0), 3.0, np.zeros(4, dtype=np.int64))
    assert improve(task, Archive(), task.fastest, 0) == (0.5, 2.0)
    assert calls == [1, 4]
    calls.clear()
    assert improve(task, Archive(), task.fastest, 3) == (0.5, 2.0)
    assert calls == [1, 4, 3]


@pytest.mark.parametrize("method", ["nsga2", "regularized", "random", "local", "evolution", "islands"])
def test_the_history_tells_the_faster_of_equals(method: str) -> None:
    """Whatever has its first gene is as accurate: most have others besides, and are found first."""
    space = digits(8, 3)
    config = SearchConfig(
        method=method, nsga2=NsgaConfig(population=20, generations=20), random=RandomSearchConfig(samples=20_000),
        regularized=RegularizedConfig(population=20, tournament=3, children=5, evaluations=600),
        local=LocalSearchConfig(starts=3, pairs=20), evolution=EvolutionConfig(population=20, generations=20),
        islands=IslandsConfig(generations=20, islands=1, population=10, children=10),
    )  # fmt: skip
    task = problem(space, 9.0, lambda rows: np.where(rows[:, 0] != 0, 0.7, 0.2))
    [result], _, _ = search_budgets([task], config, rng())
    assert (result.accuracy, result.history.accuracy[-1]) == (0.7, 0.7)
    assert result.history.latency_ms[-1] == result.latency_ms == 2.0
    gained = np.diff(result.history.accuracy) > 0
    assert (np.diff(result.history.latency_ms)[~gained] <= 0).all()


def test_no_network_has_no_bound() -> None:
    bench = make_space(OfaMbv3Config(resolution=(160,)))
    weights = [np.zeros(int(count)) for count in bench.cardinalities]
    factors = [(slot.genes, np.ones(slot.operator_ids.shape)) for slot in bench.slots]
    [found] = search_exact(bench, weights, 0.5, factors, [0.5], steps=50)
    assert (found.genotype, found.accuracy, found.upper_bound) == (None, -np.inf, -np.inf)
    [enough] = search_exact(bench, weights, 0.5, factors, [2.0 * len(bench.slots)], steps=200)
    assert (enough.accuracy, enough.upper_bound) == (0.5, 0.5)


def test_a_pair_may_use_all_that_the_budget_leaves() -> None:
    """Each of two genes alone makes it worse, both together better: they cost 2 ms of the 3 that are left."""
    space = digits(3, 2)

    def accuracy(rows: Genotypes) -> Floats:
        both = rows[:, 0] + rows[:, 1]
        return np.asarray(np.where(both == 2, 0.9, np.where(both == 1, 0.1, 0.5)) - 0.3 * rows[:, 2])

    assert improve(problem(space, 4.0, accuracy), Archive(), np.zeros(3, dtype=np.int64), 3) == (0.9, 3.0)
    assert improve(problem(space, 3.0, accuracy), Archive(), np.zeros(3, dtype=np.int64), 3) == (0.9, 3.0)
    assert improve(problem(space, 2.9, accuracy), Archive(), np.zeros(3, dtype=np.int64), 3) == (0.5, 1.0)


def test_guided_children_favour_their_parents_genes() -> None:
    """Of three choices as good as each other, noise alone would take a parent's for a third of the genes."""
    space = digits(5, 3)
    alike = np.full((5, 3), 5.0, dtype=np.float32)
    guide = Guide(
        space, lambda rows: np.ones(len(rows)), np.zeros(5, dtype=np.int64), lambda rows: np.stack([alike] * len(rows)),
        rng(),
    )  # fmt: skip
    parents = space.sample(300, rng(1))
    repeated, children = guide.children(parents, np.zeros(300), 3, rng(2))
    kept = np.mean(children == repeated)
    assert 0.78 < kept < 0.9
    assert not np.array_equal(children, repeated)


def test_candidates_are_mutations_of_so_many_groups() -> None:
    space, evaluated = digits(8, 3), list[Genotypes]()

    def accuracy(rows: Genotypes) -> Floats:
        evaluated.append(rows)
        return weighted(rows)

    def surrogate(rows: Genotypes, _: Floats, __: np.random.Generator) -> Callable[[Genotypes], tuple[Floats, Floats]]:
        def estimate(asked: Genotypes) -> tuple[Floats, Floats]:
            apart = (asked[:, None] != rows[None]).sum(axis=2).min(axis=1)
            assert set(apart.tolist()) == {1}
            return weighted(asked), np.zeros(len(asked))

        return estimate

    config = BananasConfig(initial=10, batch=4, evaluations=30, candidates=200, parents=3, mutations=1)
    assert bananas(problem(space, 99.0, accuracy), config, rng(), surrogate=surrogate).evaluations == 30
    assert sum(map(len, evaluated)) == 30


def test_islands_are_apart_for_their_share_of_the_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen, shares = islands_module._Islands.advance, list[int](), list[float]()

    def watched(islands: islands_module._Islands) -> None:
        seen.append(len(islands.populations))
        real(islands)

    monkeypatch.setattr(islands_module._Islands, "advance", watched)
    config = IslandsConfig(generations=10, islands=3, population=5, children=6, apart=0.6, local_starts=0)
    evolve_islands([problem(digits(5, 3), 4.0)], config, rng(), lambda share, _: shares.append(share))
    assert seen == [3] * 6 + [1] * 4
    assert shares == pytest.approx([number / 10 for number in range(11)])
    shares.clear()
    one = IslandsConfig(generations=1, islands=1, population=5, children=6, local_starts=0)
    evolve_islands([problem(digits(5, 3), 4.0)], one, rng(), lambda share, _: shares.append(share))
    assert shares == [0.0, 1.0]


def test_equal_scores_are_no_equal_networks() -> None:
    space = digits(3, 3)
    rows = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    alike = [Population(rows[:2], np.full(2, 0.5), np.ones(2)), Population(rows[1:], np.full(2, 0.5), np.ones(2))]
    assert len(Selection(space, 5, 1.0)(alike).genotypes) == 3
    deep = make_space(OfaMbv3Config())
    shapes = deep.unique(deep.sample(40, rng()))
    one = shapes[:1].repeat(4, axis=0)
    one[:, 0] = np.arange(4) % 3
    one = deep.unique(one)
    mixed = deep.unique(np.concatenate([one, shapes[1:4]]))
    accuracy = np.where((mixed[:, deep.shared_genes] == one[0, deep.shared_genes]).all(axis=1), 0.9, 0.5)
    kept = Selection(deep, 4, 0.25)([Population(mixed, accuracy, np.ones(len(mixed)))])
    # One place a shape: the three others come before a second of the best shape.
    assert (kept.accuracy == 0.9).sum() == 1
    assert len(kept.genotypes) == 4


def test_crowding_is_a_share_of_the_fronts_extent_however_small() -> None:
    values = np.array([[0.0, 0.3], [0.1, 0.1], [0.4, 0.0]])
    assert crowding(values, np.zeros(3, dtype=np.int64))[1] == pytest.approx(2.0)


def test_what_takes_the_whole_budget_is_within_it_in_the_history() -> None:
    task = problem(digits(4, 2), 5.0)
    [result] = nsga2([task], NsgaConfig(population=20, generations=10), rng())
    assert result.latency_ms == 5.0
    assert result.history.accuracy[-1] == result.accuracy
    shares: list[float] = []
    settings = EvolutionConfig(population=4, generations=1, local_search=False)
    evolve(task, settings, rng(), lambda share, _: shares.append(share))
    assert shares == [0.0, 1.0]


def test_weights_are_one_array_a_gene() -> None:
    space = digits(4, 3)
    accuracy, weights = additive(space, 2)
    found = additive_weights(space, accuracy, rng())
    assert found is not None
    assert [len(one) for one in found[0]] == [3] * 4
    spread = [one - one.mean() for one in found[0]]
    assert np.allclose(spread, [(one - one.mean()) / 100 for one in weights], atol=1e-6)


@pytest.mark.parametrize("result", [Budget("tight", 1.0, None), ExactResult(None, 0.0, 0.0)])
def test_results_stay_as_they_were_found(result: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(result, fields(result)[0].name, 0)
