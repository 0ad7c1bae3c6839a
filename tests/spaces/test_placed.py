"""Spaces described by their places, and those that a file of the user's own makes."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import ConfigError
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator
from hwnas.spaces import FileSpaceConfig, Place, PlacedSpace, make_space, space_from_dict

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ghost_space.py"


def chain(classes: int = 5) -> PlacedSpace:
    """Two blocks of elastic kernel and width, the second of which may be missing."""

    def places(size: int) -> Iterator[Place]:
        def block(first: bool, ks: int, w: int, d: int) -> Operator | None:
            if not first and d < 2:
                return None
            return MBConv(size, size, 8 if first else w, w, mid_channels=24, kernel=ks, activation="relu")

        yield Place("stem", Conv(size, size, 3, 8, kernel=3, activation="relu"))
        for number in range(2):
            yield Place(
                f"block{number}",
                lambda ks, w, d, number=number: block(number == 0, ks, w, d),
                {f"ks{number}": (3, 5), "w": (8, 16), "d": (1, 2)},
            )
        yield Place("pool", lambda w: GlobalPool(size, size, w, w), {"w": (8, 16)})
        yield Place("classifier", lambda w: Linear(1, 1, w, classes), {"w": (8, 16)})

    return PlacedSpace("mine", (8, 12), 3, classes, places)


def test_genes_stand_kind_by_kind_and_those_without_effect_are_canonical() -> None:
    space = chain()
    assert [gene.name for gene in space.genes] == ["ks0", "ks1", "w", "d", "r"]
    every = space.every(1000)
    assert every is not None
    assert len(every) == 2 * (4 + 8)  # ks1 is nothing without a second block
    distinct = {tuple(space.operators_of(row)) for row in every}
    assert len(distinct) == len(every)
    for row in every:
        assert np.array_equal(space.genotype(space.arch(row)), row)
        assert np.array_equal(space.canonical(row[None])[0], row)


def test_a_gene_may_lose_its_effect_as_another_does() -> None:
    def places(size: int) -> Iterator[Place]:
        stands = {(0, 0): 8, (0, 1): 16, (1, 0): 8, (1, 1): 8}
        yield Place("stem", lambda a, b: Conv(size, size, 3, stands[a, b]), {"a": (0, 1), "b": (0, 1)})

    space = PlacedSpace("odd", (8,), 3, 2, places)
    assert space.canonical(np.array([[1, 1, 0]])).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("genes", "message"),
    [
        (({"k": (5, 3)}, {}), "space odd: p0: gene k: expected rising choices, got .5, 3."),
        (({"k": (3, 5)}, {"k": (3, 7)}), "space odd: p1: gene k has choices .3, 7., but before .3, 5."),
    ],
)
def test_places_that_disagree_are_named(genes: tuple[dict[str, tuple[int, ...]], ...], message: str) -> None:
    def places(size: int) -> Iterator[Place]:
        for number, own in enumerate(genes):
            yield Place(f"p{number}", lambda **_: Conv(size, size, 3, 3), own)

    with pytest.raises(ConfigError, match=message):
        PlacedSpace("odd", (8,), 3, 2, places)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The example under a name and kind of this test's own."""
    path = tmp_path / f"space_of_{tmp_path.name}.py"
    path.write_text(EXAMPLE.read_text().replace('@operator_kind("ghost")', f'@operator_kind("ghost_{tmp_path.name}")'))
    return path


def test_a_file_makes_a_space_that_files_bring_back(file: Path) -> None:
    settings = FileSpaceConfig(f"{file}:make", 1, 10)
    space = make_space(settings)
    assert settings.resolution == space.resolutions == (16, 24)
    again = space_from_dict(space.config())
    assert again.config() == space.config()
    assert again.operators == space.operators
    assert make_space(FileSpaceConfig(f"{file}:make", 3, 10)).config() != space.config()


def test_operators_of_a_file_reach_another_process(file: Path, tmp_path: Path) -> None:
    space = make_space(FileSpaceConfig(f"{file}:make", 1, 10))
    operators = space.operators
    (tmp_path / "operators.pickle").write_bytes(pickle.dumps([operators, space]))
    code = (
        "import pickle, sys; operators, space = pickle.load(open(sys.argv[1], 'rb')); print(*operators, sep='\\n');"
        " assert operators == space.operators"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "operators.pickle")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:-1] == list(map(str, operators))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "padding=kernel // 2",
            "padding=1 * (kernel // 2)",
            "operator kind 'ghost_.*' is another than when this was made",
        ),
        ("kernel: int = 3", "kernel: int = 3\n    ratio: int = 2", "operator kind 'ghost_.*' is another"),
        ("range(3)", "range(2)", "its places are others than when this was made"),
    ],
)
def test_a_space_that_has_changed_since_is_refused(file: Path, old: str, new: str, message: str) -> None:
    before = make_space(FileSpaceConfig(f"{file}:make", 1, 10)).config()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        space_from_dict(before)


def test_a_space_is_known_by_what_the_file_was_as_it_made_it(file: Path) -> None:
    space = make_space(FileSpaceConfig(f"{file}:make", 1, 10))
    before = space.config()
    file.write_text(file.read_text().replace("padding=kernel // 2", "padding=1 * (kernel // 2)"))
    assert space.config() == before
    assert make_space(FileSpaceConfig(f"{file}:make", 1, 10)).config() != before


def test_a_comment_changes_nothing(file: Path) -> None:
    before = make_space(FileSpaceConfig(f"{file}:make", 1, 10)).config()
    file.write_text(file.read_text() + "\n# A word.\n")
    assert space_from_dict(before).config() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("from torch import cat, nn", "from torch import cats", r"running it failed with ImportError: .*at .*\.py:3"),
        ("def make(in_channels, classes):", "def make(classes):", "make is called with in_channels and classes"),
        ("def make(", "def made(", r"has no 'make': .*made"),
        ('return PlacedSpace("ghost"', 'return 3 or PlacedSpace("ghost"', "expected a space .*, got int"),
        ("half = size // 2", "half = size // 0", r"making it failed with ZeroDivisionError: .*at .*\.py:\d+"),
        ('operator_kind("ghost', 'operator_kind("conv") if True else ("', "two operator kinds are called 'conv'"),
        ("kernel: int = 3", "kernel: list = 3", "field kernel is list, which no table can hold"),
        ("torch import cat, nn", "torch import cat, nn\nhalf = )", r"running it failed with SyntaxError"),
    ],
)
def test_a_file_that_makes_no_space_is_told_in_one_line(file: Path, old: str, new: str, message: str) -> None:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        make_space(FileSpaceConfig(f"{file}:make", 1, 10))
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path / "ghost_space.py")
    with pytest.raises(ConfigError, match=r"space=.*gost_space.py:make: no such file: .*did you mean"):
        make_space(FileSpaceConfig(f"{tmp_path / 'gost_space.py'}:make", 1, 10))
    with pytest.raises(ConfigError, match=r"expected package\.module:name or path/to/file\.py:name"):
        make_space(FileSpaceConfig("ghost_space.py", 1, 10))
