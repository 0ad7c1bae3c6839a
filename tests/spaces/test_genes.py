"""Which genes change together."""

from __future__ import annotations

import numpy as np

from hwnas.spaces import Gene, Space
from hwnas.spaces.genes import GeneGroups


def test_groups_are_numbered_as_they_first_occur() -> None:
    genes = [Gene("ks0", (3, 5), "b"), Gene("e0", (2,), "a"), Gene("ks1", (3,), "b"), Gene("r", (16,), "r")]
    groups = GeneGroups.of(genes)
    assert groups.members == ((0, 2), (1,), (3,))
    assert groups.of_gene.tolist() == [0, 1, 0, 2]
    assert len(groups) == 3


def test_a_kind_is_the_name_without_its_number() -> None:
    assert [Gene(name, (1,), "").kind for name in ("ks12", "e0", "r")] == ["ks", "e", "r"]


def test_each_gene_of_a_space_is_in_one_group(space: Space) -> None:
    columns = [column for group in space.groups.members for column in group]
    assert sorted(columns) == list(range(len(space.genes)))
    for number, group in enumerate(space.groups.members):
        assert len({space.genes[column].group for column in group}) == 1
        np.testing.assert_array_equal(np.flatnonzero(space.groups.of_gene == number), group)
