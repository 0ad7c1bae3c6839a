"""The stratified split, over arbitrary label counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwnas.data.split import drawn_split, share_split, stratified_split
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
    with pytest.raises(DataError, match=r"leaves a class of 1 without any \(emu\); take fewer or add images"):
        stratified_split(labels, 45, np.random.default_rng(0), "data.held_out", ("cat", "emu"))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.floats(0.05, 0.6))
def test_a_share_leaves_each_class_one_and_takes_one_of_two(sizes: list[int], share: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    count = max(1, round(share * len(labels)))
    if max(sizes) == 1:
        with pytest.raises(DataError, match="one a class, cannot be divided"):
            share_split(labels, count, np.random.default_rng(0), "data.test_share")
        return
    kept, given_out = (
        np.bincount(labels[rows], minlength=len(sizes))
        for rows in share_split(labels, count, np.random.default_rng(0), "data.test_share")
    )
    assert (kept + given_out == sizes).all()
    assert kept.min() >= 1
    assert all(number >= 1 for number, size in zip(given_out, sizes, strict=True) if size > 1)
    assert count - len(sizes) <= given_out.sum() <= count + len(sizes)


def test_a_share_of_large_classes_is_the_stratified_one() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), (100, 60, 40)))
    for one, other in zip(
        share_split(labels, 30, np.random.default_rng(4), "k"),
        stratified_split(labels, 30, np.random.default_rng(4), "k"),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("images", "held"), [(102, 15), (10, 2), (4, 2), (30_000, 4500), (50_000, 5000)])
def test_fifteen_percent_are_held_out_unless_a_number_is_given(images: int, held: int) -> None:
    labels = np.arange(images) % 2
    kept, given_out = drawn_split(labels, None, np.random.default_rng(0))
    assert (len(kept), len(given_out)) == (images - held, held)
    assert abs(int(np.diff(np.bincount(labels[given_out]))[0])) <= 1
    assert len(drawn_split(labels, 3, np.random.default_rng(0))[1]) == 3 if images > 4 else True


def test_too_few_to_hold_out_is_one_line() -> None:
    with pytest.raises(DataError, match="expected at least 2 images to learn from and 2 to hold out, got 2 and 1"):
        drawn_split(np.array([0, 0, 1]), None, np.random.default_rng(0))
