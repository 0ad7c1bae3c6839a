"""Padding, and the rows of large kernels."""

from __future__ import annotations

from itertools import pairwise

import pytest

from hwnas.export.convolutions import row_dilation, row_groups, same_is_symmetric


@pytest.mark.parametrize("kernel", range(1, 15, 2))
def test_row_groups_hold_every_row_once_in_kernels_of_25_taps(kernel: int) -> None:
    groups = row_groups(kernel)
    assert bool(groups) == (kernel in (7, 9, 11))
    assert sorted(row for group in groups for row in group) == (list(range(kernel)) if groups else [])
    for group in groups:
        assert len(group) * kernel <= 25
        assert [kernel - 1 - row for row in reversed(group)] == list(group)
        assert len({after - row for row, after in pairwise(group)}) <= 1


@pytest.mark.parametrize(("kernel", "dilations"), [(7, [3, 4, 2]), (9, [8, 6, 4, 2, 1]), (11, [10, 8, 6, 4, 2, 1])])
def test_rows_of_a_group_lie_so_far_apart(kernel: int, dilations: list[int]) -> None:
    assert list(map(row_dilation, row_groups(kernel))) == dilations


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (8, 3, 1, True),
        (8, 3, 2, False),
        (9, 3, 2, True),
        (9, 5, 2, True),
        (8, 5, 2, False),
        (7, 7, 1, True),
        (1, 3, 2, True),
    ],
)
def test_same_is_symmetric_where_both_sides_get_as_much(size: int, kernel: int, stride: int, expected: bool) -> None:
    assert same_is_symmetric(size, kernel, stride) is expected
