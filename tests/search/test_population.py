"""Networks that were evaluated, and how they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hwnas.search.population import Archive, Population, Score


def _three() -> Population:
    rows = np.array([[0, 1], [1, 0], [1, 1]])
    return Population(rows, np.array([0.5, 0.7, 0.7]), np.array([1.0, 3.0, 2.0]))


def test_the_best_comes_first_and_of_equals_the_faster() -> None:
    ranked = _three().ranked()
    assert ranked.genotypes.tolist() == [[1, 1], [1, 0], [0, 1]]
    assert ranked.latency_ms.tolist() == [2.0, 3.0, 1.0]
    assert _three().best == Score(0.7, 2.0)
    assert Population.empty(2).best == Score(-np.inf, np.inf)


def test_rows_are_taken_together() -> None:
    kept = _three()[np.array([True, False, True])]
    assert kept.genotypes.tolist() == [[0, 1], [1, 1]]
    assert kept.score(1) == Score(0.7, 2.0)
    again = Population.joined([kept, _three()[1:2], Population.empty(2)])
    assert again.accuracy.tolist() == [0.5, 0.7, 0.7]
    assert again.latency_ms.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("other", "better"), [((0.8, 9.0), True), ((0.7, 1.0), True), ((0.7, 2.0), False), ((0.6, 0.1), False)]
)
def test_the_better_of_two_scores(other: tuple[float, float], better: bool) -> None:
    one, two = Score(0.7, 2.0), Score(*other)
    assert one.or_better(two) is (two if better else one)


def test_what_is_evaluated_joins_the_archive_once(tiny: Any) -> None:
    problem, archive = tiny.problem(tiny.quantile_ms(0.5)), Archive()
    rows = tiny.space.sample(6, np.random.default_rng(0))[[0, 1, 1, 2]]
    fresh = archive.claim(rows)
    assert fresh.tolist() == [True, True, False, True]
    latency_ms = tiny.latency_ms(rows)
    found = Population.evaluate(problem, archive, rows[fresh], latency_ms[fresh])
    np.testing.assert_array_equal(found.accuracy, tiny.accuracy(rows[fresh]))
    np.testing.assert_array_equal(archive.population().genotypes, rows[fresh])
    assert (len(archive), archive.added) == (3, 3)
    assert not archive.claim(rows).any()
    assert archive.holds(rows).all()


def test_what_does_not_join_is_evaluated_all_the_same(tiny: Any) -> None:
    problem, archive = tiny.problem(tiny.quantile_ms(0.5)), Archive()
    rows = tiny.space.unique(tiny.space.sample(9, np.random.default_rng(0)))[:4]
    joins = np.array([True, False, False, True])
    found = Population.evaluate(problem, archive, rows, tiny.latency_ms(rows), joins)
    assert len(found) == 4
    np.testing.assert_array_equal(archive.population().genotypes, rows[joins])


def test_nothing_is_asked_about_no_network(tiny: Any) -> None:
    def never(_: Any) -> Any:
        raise AssertionError

    problem, archive = tiny.problem(tiny.quantile_ms(0.5), accuracy=never), Archive()
    none = Population.empty(len(tiny.space.genes))
    assert not len(Population.evaluate(problem, archive, none.genotypes, none.latency_ms))
    assert archive.added == 0
