"""Fronts, against comparing every pair."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.search.pareto import front, hypervolume, non_dominated, non_dominated_values

# Few values, so that ties in one or both are common.
points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30).map(
    lambda pairs: (np.array([a for a, _ in pairs], dtype=float), np.array([t for _, t in pairs], dtype=float))
)


def brute_force(accuracy: np.ndarray, latency: np.ndarray) -> list[bool]:
    def dominates(i: int, j: int) -> bool:
        no_worse = accuracy[i] >= accuracy[j] and latency[i] <= latency[j]
        return bool(no_worse and (accuracy[i] > accuracy[j] or latency[i] < latency[j]))

    return [not any(dominates(i, j) for i in range(len(accuracy))) for j in range(len(accuracy))]


@given(points=points)
def test_mask_equals_comparing_every_pair(points: tuple[np.ndarray, np.ndarray]) -> None:
    assert non_dominated(*points).tolist() == brute_force(*points)


@given(rows=st.lists(st.tuples(*[st.integers(0, 3)] * 3), max_size=30))
def test_any_number_of_objectives_equals_comparing_every_pair(rows: list[tuple[int, int, int]]) -> None:
    values = np.array(rows, dtype=float).reshape(-1, 3)
    dominated = [any((other <= one).all() and (other < one).any() for other in values) for one in values]
    assert non_dominated_values(values).tolist() == [not each for each in dominated]


@given(points=points)
def test_front_is_the_mask_sorted_without_copies(points: tuple[np.ndarray, np.ndarray]) -> None:
    accuracy, latency = points
    chosen = front(accuracy, latency)
    assert np.all(np.diff(latency[chosen]) > 0)
    assert np.all(np.diff(accuracy[chosen]) > 0)
    expected = {(accuracy[i], latency[i]) for i in np.flatnonzero(non_dominated(accuracy, latency))}
    assert {(accuracy[i], latency[i]) for i in chosen} == expected
    for index in chosen:
        same = (accuracy == accuracy[index]) & (latency == latency[index])
        assert index == np.flatnonzero(same)[0]


@given(points=points, reference=st.tuples(st.integers(-1, 4), st.integers(1, 7)))
def test_hypervolume_equals_counting_unit_squares(
    points: tuple[np.ndarray, np.ndarray], reference: tuple[int, int]
) -> None:
    accuracy, latency = points
    squares = sum(
        any(a >= row + 1 and t <= column for a, t in zip(accuracy, latency, strict=True))
        for row in range(reference[0], 6)
        for column in range(reference[1])
    )
    assert hypervolume(accuracy, latency, *reference) == pytest.approx(squares)


def test_hypervolume_of_nothing_is_zero() -> None:
    assert hypervolume(np.empty(0), np.empty(0), 0.0, 1.0) == 0
    assert hypervolume(np.array([0.5]), np.array([2.0]), 0.0, 1.0) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        non_dominated(np.array([value, 0.5]), np.ones(2))
    with pytest.raises(ValueError, match="finite"):
        front(np.ones(2), np.array([value, 0.5]))


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        non_dominated(np.ones(2), np.ones(3))
