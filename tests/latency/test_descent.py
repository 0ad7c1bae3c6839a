"""The fastest network by changes of single genes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.latency.descent import descend
from hwnas.spaces import Genotypes
from hwnas.spaces.categorical import CategoricalSpace

SPACE = CategoricalSpace("mine", {f"g{number}": list("abcd") for number in range(3)})


def _sum(genotypes: Genotypes) -> NDArray[np.float64]:
    return np.asarray(1.0 + genotypes.sum(axis=1))


def test_it_ends_at_the_fastest_of_an_additive_latency() -> None:
    row, latency_ms = descend(SPACE, _sum, np.array([[3, 3, 3], [3, 2, 3]]))
    assert (row.tolist(), latency_ms) == ([0, 0, 0], 1.0)


@pytest.mark.parametrize(("steps", "expected"), [(1, [3, 2, 3]), (2, [0, 2, 3]), (3, [0, 2, 0]), (9, [0, 0, 0])])
def test_steps_are_counted_from_the_first_look(steps: int, expected: list[int]) -> None:
    row, latency_ms = descend(SPACE, _sum, np.array([[3, 3, 3], [3, 2, 3]]), steps)
    assert (row.tolist(), latency_ms) == (expected, 1.0 + sum(expected))


def test_it_stays_where_nothing_is_faster() -> None:
    row, latency_ms = descend(SPACE, lambda genotypes: np.full(len(genotypes), 2.0), np.array([[1, 2, 3], [0, 0, 0]]))
    assert (row.tolist(), latency_ms) == ([1, 2, 3], 2.0)
