"""NAS-Bench-Macro's space, and what is published of its networks."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from hwnas.errors import ArchError, ConfigError
from hwnas.search.config import EvolutionConfig, SearchConfig
from hwnas.search.problem import Problem
from hwnas.search.searchers import search
from hwnas.spaces import Genotypes, NasBenchMacroConfig, NasBenchMacroSpace, make_space, space_from_dict


@pytest.fixture(scope="module")
def macro() -> NasBenchMacroSpace:
    return make_space(NasBenchMacroConfig())


@pytest.fixture(scope="module")
def rows(reference_data: Path) -> list[dict[str, str]]:
    path = reference_data / "nasbench_macro" / "accuracy.csv.gz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the reference data")
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def test_every_published_arch_is_one_of_the_space(macro: NasBenchMacroSpace, rows: list[dict[str, str]]) -> None:
    genotypes = np.stack([macro.genotype(row["arch"]) for row in rows])
    assert len(rows) == macro.size == len(np.unique(genotypes, axis=0)) == 6561
    assert [macro.arch(genotype).values["layers"] for genotype in genotypes] == [row["arch"] for row in rows]
    every = macro.every(7000)
    assert every is not None
    assert len(every) == 6561


def test_parameters_and_macs_are_the_published_ones(macro: NasBenchMacroSpace, rows: list[dict[str, str]]) -> None:
    genotypes = np.stack([macro.genotype(row["arch"]) for row in rows])
    assert macro.parameters(genotypes).tolist() == [int(row["parameters"]) for row in rows]
    assert macro.macs(genotypes).tolist() == [int(row["macs"]) for row in rows]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_search_on_the_published_accuracies_finds_the_best(
    macro: NasBenchMacroSpace, rows: list[dict[str, str]], seed: int
) -> None:
    """Within half of the most MACs, or one that is a few hundredths of a point below; of a tenth of the networks."""
    accuracies = {row["arch"]: float(row["cifar10_test_mean"]) for row in rows}
    asked: set[str] = set()

    def text(genotype: Genotypes) -> str:
        return "".join(map(str, genotype[:-1]))

    def accuracy(genotypes: Genotypes) -> np.ndarray:
        asked.update(map(text, genotypes))
        return np.array([accuracies[text(genotype)] for genotype in genotypes])

    def macs(genotypes: Genotypes) -> np.ndarray:
        return macro.macs(genotypes) / 1e6

    budget = float(macs(macro.extreme(True)[None])[0]) / 2
    every = macro.every(7000)
    assert every is not None
    within = every[macs(every) <= budget]
    best = max(accuracies[text(genotype)] for genotype in within)
    config = SearchConfig(
        method="evolution", evolution=EvolutionConfig(population=40, generations=15, local_search=False)
    )
    problem = Problem(macro, accuracy, macs, budget, macro.extreme(False))
    found = search(problem, config, np.random.default_rng(seed))
    assert found.accuracy >= best - 0.05
    assert len(asked) < len(rows) / 10


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("01220012", [0, 1, 2, 2, 0, 0, 1, 2]),
        ({"layers": "22210012"}, [2, 2, 2, 1, 0, 0, 1, 2]),
        ({"layers": 22210012, "r": 32}, [2, 2, 2, 1, 0, 0, 1, 2]),
        ({"layers": 12, "space": "nasbench_macro"}, [0, 0, 0, 0, 0, 0, 1, 2]),
        ({"layers": 0}, [0] * 8),
    ],
)
def test_an_arch_is_a_digit_a_layer(macro: NasBenchMacroSpace, arch: object, expected: list[int]) -> None:
    """As text, or as the number that a command line may take it for."""
    genotype = macro.genotype(arch)  # type: ignore[arg-type]
    assert genotype.tolist() == [*expected, 0]
    assert macro.genotype(macro.arch(genotype)).tolist() == genotype.tolist()


@pytest.mark.parametrize("wrong", ["0122001", "012200123", "01220013", "", {"layers": None}, {"r": 32}, {"layers": -1}])
def test_other_archs_are_refused(macro: NasBenchMacroSpace, wrong: object) -> None:
    with pytest.raises(ArchError, match="8 digits of 0, 1 and 2, such as 01220012, got") as caught:
        macro.genotype(wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_identity_that_changes_size_is_a_convolution(macro: NasBenchMacroSpace) -> None:
    named = macro.named_operators(macro.genotype("00000000"))
    assert list(named) == ["stem", "layer0", "layer2", "layer5", "feature_mix", "pool", "classifier"]
    assert str(named["layer2"]) == "conv 16x16x64->128 k1s2"


def test_a_space_comes_back_from_its_settings(macro: NasBenchMacroSpace) -> None:
    assert space_from_dict(macro.config()).config() == macro.config()
    with pytest.raises(ConfigError, match=r"space\.width and head_width must be positive, got 0, 1280"):
        NasBenchMacroConfig(width=0)
