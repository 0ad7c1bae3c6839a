"""Spaces of a user's own: genes with named values."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import ArchError, ConfigError
from hwnas.spaces.categorical import CategoricalSpace


def test_a_space_of_columns() -> None:
    space = CategoricalSpace.from_columns(
        "mine", {"kernel": ["7", "3", "11", "3"], "op": ["pool", "conv", "conv", "x"]}
    )
    assert space.values == {"kernel": ("3", "7", "11"), "op": ("conv", "pool", "x")}
    assert space.genotype({"kernel": 7, "op": "x"}).tolist() == [1, 2]
    rows = space.sample(20, np.random.default_rng(0))
    assert all((space.genotype(space.arch(row)) == row).all() for row in rows)
    assert space.features(rows).shape == (20, 6)
    with pytest.raises(ArchError, match="gene op is 'pol'; did you mean 'pool'"):
        space.genotype({"kernel": 7, "op": "pol"})
    with pytest.raises(ArchError, match="gene 'op' is missing"):
        space.genotype({"kernel": 7})
    with pytest.raises(ArchError, match="MACs of 20 networks are unknown"):
        space.macs(rows)
    with pytest.raises(ConfigError, match="distinct values"):
        CategoricalSpace("mine", {"op": ["a", "a"]})


def test_values_say_what_genes_decide_and_which_are_numbers() -> None:
    space = CategoricalSpace(
        "mine",
        {"a": ["x", "y"], "width": ["8", "16.5", "24"], "code": ["0", "1", "2"], "one": ["3"], "odd": ["1", "nan"]},
    )
    assert space.choice_values[:2] == (("x", "y"), ("8", "16.5", "24"))
    assert {column: values.tolist() for column, values in space.numeric_genes.items()} == {1: [8.0, 16.5, 24.0]}
