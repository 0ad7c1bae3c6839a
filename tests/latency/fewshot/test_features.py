"""Features are of what a space has, whichever space it is."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hwnas.latency.fewshot.features import WordSums, cost_figures, feature_groups
from hwnas.spaces import Gene, Genotypes, OfaResNet50Config, Space, make_space
from hwnas.spaces.cells import Cell
from hwnas.spaces.words import BlockGenes


class _Mine(Space):
    """A space of a user's own, without operators."""

    slots = ()
    operators = ()
    name = "mine"

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.ones(genotypes.shape, dtype=bool)

    def config(self) -> dict[str, Any]:
        return {"name": self.name}


class _Blocks(_Mine):
    """Three blocks in two stages, expansions before kernels, and the resolution first."""

    resolutions = (8, 16)
    genes = (
        Gene("r", (8, 16), "r"),
        *(Gene(f"e{block}", (2, 3), f"block{block}") for block in range(3)),
        *(Gene(f"ks{block}", (3, 5, 7), f"block{block}") for block in range(3)),
    )

    @cached_property
    def blocks(self) -> BlockGenes:
        return BlockGenes(slice(4, 7), slice(1, 4), 3, 2, (1, 2), 0)


class _Cell(_Mine):
    """Two edges in a row; what stands behind `none` is dead."""

    genes = (Gene("edge0", (0, 1, 2), "edge0"), Gene("edge1", (0, 1, 2), "edge1"))

    @cached_property
    def cell(self) -> Cell:
        kernels = ((), ((4.0, 2.0),), ((16.0, 1.0), (8.0, 8.0)))
        return Cell(((0, 1), (1, 2)), 2, kernels, lambda rows: (rows != 0) & (rows != 0).all(axis=1, keepdims=True))


def test_blocks_are_counted_wherever_their_genes_stand() -> None:
    space = _Blocks()
    row = np.array([[1, 0, 1, 1, 2, 0, 0]])
    groups = feature_groups(space)(row)
    # Kernels 3, 5, 7, expansions 2, 3, and blocks.
    assert groups["total"][0].tolist() == [2, 0, 1, 1, 2, 3]
    assert groups["by stage"][0].tolist() == [0, 0, 1, 1, 0, 1, 2, 0, 0, 0, 2, 2]
    assert groups["resolution"][0].tolist() == [0, 1]
    assert feature_groups(space)(np.array([[0, 0, 1, 1, 2, 0, 0]]))["area"][0].tolist() == [0.25, 0.0625]
    rows = space.sample(40, np.random.default_rng(0))
    sums = WordSums.of(space)
    resolution, words = sums.words(rows)
    expected = np.concatenate(list(feature_groups(space)(rows).values()), axis=1)
    np.testing.assert_allclose(sums.constant[resolution] + sums.rows[resolution[:, None], words].sum(axis=1), expected)


def test_a_cell_is_counted_as_built_and_as_live() -> None:
    space = _Cell()
    rows = np.array([[1, 2], [0, 2]])
    groups = feature_groups(space)(rows)
    assert groups["built"].tolist() == [[1, 1], [0, 1]]
    assert groups["live"].tolist() == [[1, 1], [0, 0]]
    assert groups["empty"].tolist() == [[0], [1]]
    figures = cost_figures(space, rows)
    # Multiplications of the cells as built are 28 and 24; as left, 28 and none.
    assert figures[:, 0] == pytest.approx([28 / 26, 24 / 26])
    assert figures[:, 6] == pytest.approx([2, 0])
    # Numbers moved, and kernels.
    assert figures[:, 1] == pytest.approx([11 / 10, 9 / 10])
    assert figures[:, 5] == pytest.approx([3 / 2.5, 2 / 2.5])


def test_a_space_without_blocks_has_no_sums_over_words() -> None:
    with pytest.raises(ValueError, match="ofa_resnet50 has no blocks"):
        WordSums.of(make_space(OfaResNet50Config(resolution=(128,))))
