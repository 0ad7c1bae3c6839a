"""What a cell says of its edges."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.spaces.nasbench201 import EDGE_OPERATORS, NasBench201Space

CELLS_PER_STAGE = 5


def test_an_edges_kernels_do_its_operators_arithmetic() -> None:
    space = NasBench201Space()
    cell = space.cell
    assert cell.operators == len(EDGE_OPERATORS) == int(space.cardinalities[0])
    empty = np.zeros((1, len(cell.edges)), dtype=np.int64)
    for operator, kernels in enumerate(cell.kernels):
        assert len(kernels) == (3 if operator else 0)
        one = empty.copy()
        one[0, 2] = operator
        added = int((space.macs(one) - space.macs(empty))[0])
        expected = CELLS_PER_STAGE * sum(macs for macs, _ in kernels)
        # The space counts pooling as nothing; a device does not.
        assert added == (0 if EDGE_OPERATORS[operator].startswith("avg_pool") else expected)


def test_weights_and_maps_are_moved() -> None:
    named = zip(EDGE_OPERATORS, NasBench201Space().cell.kernels, strict=True)
    moved = {name: [numbers for _, numbers in own] for name, own in named}
    maps = [32 * 32 * 16, 16 * 16 * 32, 8 * 8 * 64]
    assert moved["skip_connect"] == [2 * numbers for numbers in maps]
    assert moved["avg_pool_3x3"] == [3 * numbers for numbers in maps]
    assert moved["nor_conv_1x1"] == [3 * numbers + width**2 for numbers, width in zip(maps, (16, 32, 64), strict=True)]
    assert moved["nor_conv_3x3"][2] == 3 * maps[2] + 9 * 64**2


def test_live_edges_are_the_spaces() -> None:
    space = NasBench201Space()
    rows = space.sample(20, np.random.default_rng(0))
    np.testing.assert_array_equal(space.cell.live(rows), space.live(rows))
    assert space.cell.output == max(target for _, target in space.cell.edges)
    assert make_space(OfaMbv3Config(resolution=(160,))).cell is None
