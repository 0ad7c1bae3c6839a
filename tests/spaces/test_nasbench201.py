"""NAS-Bench-201's cells."""

from __future__ import annotations

import numpy as np
import pytest

from hwnas.errors import ArchError
from hwnas.spaces.nasbench201 import NasBench201Space

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_published_counts_of_the_best_cell() -> None:
    # NAS-Bench-201's API gives 184.73 M and 1.29 M for it on CIFAR-10.
    space = NasBench201Space()
    row = space.genotype(BEST)[None]
    assert space.macs(row)[0] == pytest.approx(184.73e6, rel=1e-4)
    assert space.parameters(row)[0] == pytest.approx(1.29e6, rel=2e-3)


def test_strings_and_genotypes_are_the_same_cells() -> None:
    space = NasBench201Space()
    rows = space.sample(50, np.random.default_rng(0))
    assert all((space.genotype(space.arch(row)) == row).all() for row in rows)
    assert space.arch(space.genotype(BEST)).values["cell"] == BEST


@pytest.mark.parametrize(
    ("cell", "live"),
    [
        (BEST, [1, 1, 1, 1, 1, 1]),
        # Node 2 is not read: what leads there is dead.
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|none~2|", [1, 0, 0, 0, 1, 0]),
        # An edge whose source is zero still runs; it is read.
        ("|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|", [0, 0, 1, 1, 0, 1]),
        # The output does not depend on the input.
        ("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|skip_connect~2|", [0, 0, 0, 0, 0, 0]),
    ],
)
def test_dead_code(cell: str, live: list[int]) -> None:
    space = NasBench201Space()
    assert space.live(space.genotype(cell)[None])[0].astype(int).tolist() == live


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (BEST.replace("skip_connect", "skip_conect"), "did you mean 'skip_connect'"),
        ("|none~0|", "of the form"),
        (7, "expected a cell"),
        ({"space": "ofa_mbv3", "cell": BEST}, "is of space 'ofa_mbv3'"),
    ],
)
def test_wrong_cells_are_named(cell: object, message: str) -> None:
    with pytest.raises(ArchError, match=message):
        NasBench201Space().genotype(cell)  # type: ignore[arg-type]
