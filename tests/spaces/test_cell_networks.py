"""NAS-Bench-201's and DARTS' cells as networks, and cells of one's own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from hwnas.errors import ArchError, ConfigError
from hwnas.operators import Conv, GlobalPool, Linear, Operator, ReluConv
from hwnas.spaces import DartsConfig, NasBench201Config, Place, PlacedSpace, Space, make_space, space_from_dict

BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SMALL = NasBench201Config(resolution=(16, 24), widths=(4, 8), cells=2, in_channels=1)

# The genotype that DARTS published as DARTS_V2.
DARTS_V2 = {
    "normal": [
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ],
    "reduce": [
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1), ("max_pool_3x3", 0),
        ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ],
}  # fmt: skip


def test_published_counts() -> None:
    cells = make_space(NasBench201Config())
    row = cells.genotype(BEST)[None]
    assert cells.macs(row)[0] == pytest.approx(184.73e6, rel=1e-4)  # NAS-Bench-201's API, of its best cell
    assert cells.parameters(row)[0] == pytest.approx(1.29e6, rel=2e-3)
    darts = make_space(DartsConfig())
    assert darts.parameters(darts.genotype(DARTS_V2)[None])[0] == 3_349_342  # what its authors' code prints
    assert darts.size == pytest.approx(1.08e18, rel=1e-2)


@pytest.mark.parametrize("config", [SMALL, DartsConfig(width=4, cells=3, resolution=(16, 24))])
def test_archs_and_genotypes_are_the_same_networks(config: NasBench201Config | DartsConfig) -> None:
    space: Space = make_space(config)
    assert space_from_dict(space.config()).config() == space.config()
    for row in [*space.sample(30, np.random.default_rng(0)), space.extreme(True), space.extreme(False)]:
        assert np.array_equal(space.genotype(space.arch(row)), row)
        network = space.network_of(row)
        network.check()
        assert sum(one.parameters for one in network) == space.parameters(row[None])[0]


def test_every_cell_has_a_network_of_its_own() -> None:
    space = make_space(NasBench201Config(resolution=(8,), widths=(4,), cells=1))
    rows = space.every(20_000)
    assert rows is not None
    assert np.array_equal(space.canonical(rows), rows)
    # All that passes its input on by nothing but skips in a row is one cell, but for its edges' names.
    assert len({tuple(space.network_of(row).steps) for row in rows}) == len(rows)
    for row in rows[:: len(rows) // 200]:
        assert sum(one.parameters for one in space.network_of(row)) == space.parameters(row[None])[0]


def test_a_cell_that_leads_nowhere_passes() -> None:
    space = make_space(SMALL)
    row = space.genotype("|none~0|+|none~0|nor_conv_3x3~1|+|none~0|avg_pool_3x3~1|skip_connect~2|")
    assert space.arch(row).values["cell"] == "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert row.tolist() == [0, 0, 0, 0, 0, 0, 1]
    network = space.network_of(row)
    assert [step.name for step in network.steps] == [
        "stem", "reduce1a", "reduce1b", "reduce1pool", "reduce1point", "reduce1", "norm", "pool", "classifier",
    ]  # fmt: skip
    network.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normal": DARTS_V2["normal"][:7]}, "normal: expected 8 of .operator, input., two a node, got"),
        ({"normal": [("sep_conv_7x7", 0), *DARTS_V2["normal"][1:]]}, "operator 'sep_conv_7x7' unknown; did you mean"),
        ({"normal": [("sep_conv_3x3", 1), *DARTS_V2["normal"][1:]]}, "node 2 reads .1, 1.: expected two of 0 to 1"),
        ({"reduce": [("skip_connect", "0"), *DARTS_V2["reduce"][1:]]}, "reduce: expected 8 .* among them"),
        ({"reduce": None}, "reduce: expected 8"),
    ],
)
def test_wrong_genotypes_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(ArchError, match=message):
        make_space(DartsConfig()).genotype({**DARTS_V2, **change})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DartsConfig(cells=2), "expected 3 cells or more"),
        (lambda: DartsConfig(resolution=(30, 32)), "expected multiples of 4, got .30."),
        (lambda: NasBench201Config(widths=()), "space.widths and cells: expected positive numbers"),
        (lambda: make_space(NasBench201Config(classes=0)), "expected the data set's numbers, got 0"),
    ],
)
def test_wrong_settings_are_named(make: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()  # type: ignore[operator]


def diamond(read: str = "b", join: str = "concat", width: int = 8) -> PlacedSpace:
    """Two ways side by side, one of which may be missing."""

    def places(size: int) -> Iterator[Place]:
        way: list[Operator | None] = [None, ReluConv(size, size, 4, 4, kernel=3)]
        yield Place("stem", Conv(size, size, 3, 4))
        yield Place("a", lambda k: way[k], {"k": (0, 1)}, is_edge=True)
        yield Place("b", ReluConv(size, size, 4, 4), reads=["stem"], is_edge=True)
        yield Place("both", None, reads=["a", read], join="add")
        yield Place("end", None, reads=["both", "stem"], join=join)
        yield Place("pool", GlobalPool(size, size, width, width))
        yield Place("classifier", Linear(1, 1, width, 2))

    return PlacedSpace("diamond", (8,), 3, 2, places)


def test_places_may_read_others() -> None:
    space = diamond()
    with_both, with_one = (space.network_of(np.array([k, 0])) for k in (1, 0))
    assert [step.name for step in with_both.steps] == ["stem", "a", "b", "both", "end", "pool", "classifier"]
    assert [step.name for step in with_one.steps] == ["stem", "b", "end", "pool", "classifier"]
    assert with_one.steps[2].reads == (1, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"read": "c"}, "both reads c, which is no place before it; valid: stem, a, b"),
        ({"read": "both"}, "both reads both, which is no place before it"),
        ({"join": "mul"}, "end: join: valid: add, concat"),
        ({"width": 9}, "space diamond: pool: pool 8x8x9->9 takes 8×8×9, but what it reads gives 8×8×8; its arch: "),
    ],
)
def test_places_that_do_not_fit_are_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        diamond(**settings)  # type: ignore[arg-type]
