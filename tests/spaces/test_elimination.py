"""The exact minimum, against trying everything."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.spaces import OfaMbv3Space, Space
from hwnas.spaces.elimination import Factor, minimise_sum


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, list[Factor]]:
    """Up to six genes of up to three choices, and up to six tables over some of them, with ties."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    factors: list[Factor] = []
    for _ in range(draw(st.integers(1, 6))):
        columns = tuple(draw(st.permutations(range(len(sizes))))[: draw(st.integers(1, min(3, len(sizes))))])
        factors.append((columns, rng.integers(-3, 4, size=[sizes[column] for column in columns]).astype(float)))
    return np.array(sizes), factors


@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_minimum_equals_brute_force(problem: tuple[np.ndarray, list[Factor]]) -> None:
    sizes, factors = problem

    def total(row: tuple[int, ...]) -> float:
        return sum(float(table[tuple(row[column] for column in columns)]) for columns, table in factors)

    row, minimum = minimise_sum(sizes, factors)
    assert minimum == pytest.approx(min(total(candidate) for candidate in product(*map(range, sizes))))
    assert total(tuple(row)) == pytest.approx(minimum)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_cheapest_network_of_the_tiny_space(
    tiny_space: OfaMbv3Space, every_tiny_genotype: np.ndarray, seed: int
) -> None:
    # Negative values too: then more blocks can be cheaper.
    values = np.random.default_rng(seed).normal(size=len(tiny_space.operators))
    row, minimum = tiny_space.minimise_over_operators(values)
    sums = tiny_space.sum_over_operators(every_tiny_genotype, values)
    assert minimum == pytest.approx(sums.min())
    assert tiny_space.sum_over_operators(row[None], values)[0] == pytest.approx(sums.min())
    assert np.array_equal(tiny_space.canonical(row[None])[0], row)


def test_no_random_network_is_cheaper(space: Space) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(len(space.operators))
    _, minimum = space.minimise_over_operators(values)
    assert minimum <= space.sum_over_operators(space.sample(5000, rng), values).min()


def test_without_ties_broken_otherwise_the_lower_choice_wins(tiny_space: OfaMbv3Space) -> None:
    row, minimum = tiny_space.minimise_over_operators(np.zeros(len(tiny_space.operators)))
    assert minimum == 0
    assert not row.any()
