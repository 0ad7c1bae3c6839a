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
