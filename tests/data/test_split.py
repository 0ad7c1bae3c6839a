"""The stratified split, over arbitrary label counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.data.split import stratified_split
from hwnas.errors import DataError


@given(st.lists(st.integers(5, 60), min_size=2, max_size=8), st.floats(0.05, 0.6), st.integers(0, 2**31))
def test_parts_are_disjoint_complete_and_in_proportion(sizes: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = max(1, round(share * len(labels)))
    rest, chosen = stratified_split(labels, count, np.random.default_rng(seed), "k")
    assert len(chosen) == count
    assert sorted([*rest, *chosen]) == list(range(len(labels)))
    given_out = np.bincount(labels[chosen], minlength=len(sizes))
    assert np.all(np.abs(given_out - np.array(sizes) * count / len(labels)) < 1)
    again = stratified_split(labels, count, np.random.default_rng(seed), "k")[1]
    assert np.array_equal(again, chosen)


def test_another_seed_draws_others() -> None:
    labels = np.arange(200) % 4
    first, second = (stratified_split(labels, 40, np.random.default_rng(seed), "k")[1] for seed in (0, 1))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("count", [0, 20, 25])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=r"data\.held_out: expected 1 to 19 of 20 images"):
        stratified_split(np.arange(20) % 2, count, np.random.default_rng(0), "data.held_out")


def test_no_class_is_emptied() -> None:
    labels = np.array([0] * 50 + [1])
    with pytest.raises(DataError, match="leaves a class of 1 without any"):
        stratified_split(labels, 45, np.random.default_rng(0), "data.held_out")
