"""What stands where, and the nothing of an empty slot."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import Space
from hwnas.spaces.slots import with_nothing


def test_nothing_costs_nothing() -> None:
    ids = np.array([[0, -1], [1, 1]])
    assert with_nothing(np.array([5.0, 7.0]))[ids].tolist() == [[5.0, 0.0], [7.0, 7.0]]
    both = with_nothing(np.array([[5.0, 7.0], [1.0, 2.0]]))
    assert both[:, -1].tolist() == [0.0, 0.0]
    assert both[:, :2].tolist() == [[5.0, 7.0], [1.0, 2.0]]


def test_factors_add_up_to_the_sum_over_operators(space: Space) -> None:
    rng = np.random.default_rng(0)
    rows, values = space.sample(20, rng), rng.random(len(space.operators))
    total = np.zeros(len(rows))
    for columns, table in space.factors(values):
        assert table.shape == tuple(space.cardinalities[list(columns)])
        total += table[tuple(rows[:, column] for column in columns)]
    np.testing.assert_allclose(total, space.sum_over_operators(rows, values), rtol=1e-12)
    one_by_one = [sum(values[space.operator_index[operator]] for operator in space.operators_of(row)) for row in rows]
    np.testing.assert_allclose(total, one_by_one, rtol=1e-12)


def test_a_sum_is_the_same_to_the_last_bit_alone_and_among_others(space: Space) -> None:
    rng = np.random.default_rng(3)
    rows, values = space.sample(300, rng), rng.lognormal(sigma=3, size=len(space.operators))
    values[0] = np.nan
    sums = space.sum_over_operators(rows, values)
    # Slot by slot, as a person would add them up.
    held = np.where(ids := space.slot_operators(rows) + 1, values[ids - 1], 0.0)
    expected = np.zeros(len(rows))
    for column in held.T:
        expected += column
    np.testing.assert_array_equal(sums, expected)
    np.testing.assert_array_equal(sums, [space.sum_over_operators(row[None], values)[0] for row in rows])
    assert space.sum_over_operators(rows[:0], values).shape == (0,)
