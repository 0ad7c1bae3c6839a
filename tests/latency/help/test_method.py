"""HELP as a method: scales, references, ranges and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.errors import CheckpointError, DataError
from hwnas.latency.help.method import HelpMethod
from hwnas.latency.help.training import HelpConfig
from hwnas.latency.predictors.dataset import LatencyData
from hwnas.latency.predictors.interface import Target
from hwnas.progress import no_progress
from hwnas.spaces.categorical import CategoricalSpace

SPACE = CategoricalSpace("four", {f"g{gene}": ["0", "1", "2"] for gene in range(4)})
QUICK = HelpConfig(episodes=60, devices=2, support=5, query=20, inner_steps=1, samples=2, learning_rate=3e-3)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def data(devices: int = 3, **changes: Any) -> LatencyData:
    """All 81 networks in a random order; devices differ in what genes cost. The first 50 are the pool."""
    generator = np.random.default_rng(3)
    genotypes = generator.permutation(np.indices((3,) * 4).reshape(4, -1).T)
    costs = np.array([4.0, 2.0, 1.0, 3.0])[:, None] * np.exp(generator.normal(0, 0.2, (4, devices)))
    latency = (5 + genotypes @ costs) * np.array([1.0, 10.0, 0.1, 3.0])[:devices]
    names = tuple("abcd"[:devices])
    values: dict[str, Any] = {
        "name": "four", "space": SPACE, "genotypes": genotypes, "devices": names, "measured": latency,
        "train_devices": names[:-1], "test_devices": names[-1:], "pool": 50, "test": (50, 81), "trim": 0.1,
        "references": tuple(range(0, 50, 5)),
    }  # fmt: skip
    return LatencyData(**{**values, **changes})


@pytest.fixture(scope="module")
def taught() -> dict[bool, HelpMethod]:
    made = {published: HelpMethod(published, QUICK) for published in (False, True)}
    for method in made.values():
        method.teach(data(), rng(), no_progress)
    return made


def target(published: bool, factor: float = 1.0, allowed: int = 20) -> Target:
    own = data()
    return Target(factor * own.column("c"), own.pool, allowed, own.pool_rows("c") if published else None)


@pytest.mark.parametrize("published", [False, True])
def test_predictions_follow_and_scale_with_the_device(taught: dict[bool, HelpMethod], published: bool) -> None:
    own = data()
    asked = target(published)
    found = taught[published].adapt(asked, 10, rng())(own.genotypes)
    assert len(asked.rows) == (20 if published else 10)
    assert found.std_ms is None
    assert found.covered.all()
    assert np.corrcoef(found.mean_ms, own.column("c"))[0, 1] > 0.9
    assert np.abs(found.mean_ms / own.column("c") - 1).mean() < 0.15
    scaled = taught[published].adapt(target(published, 7.0), 10, rng())(own.genotypes)
    np.testing.assert_allclose(scaled.mean_ms, 7 * found.mean_ms, rtol=1e-3)
    # A tenth of the fastest measured at least.
    assert found.mean_ms.min() >= 0.1 * own.column("c")[asked.rows].min() - 1e-9


def test_references_are_the_published_rows_or_random_ones(taught: dict[bool, HelpMethod]) -> None:
    assert taught[True].references.tolist() == list(range(0, 50, 5))
    assert len(set(taught[False].references.tolist())) == 10
    assert taught[False].references.max() < 50
    asked = target(False, allowed=14)
    taught[False].adapt(asked, 14, rng())
    assert asked.rows[:10] == taught[False].references.tolist()
    assert len(set(asked.rows)) == 14
    asked = target(True, allowed=13)
    taught[True].adapt(asked, 3, rng())
    assert asked.rows[:10] == list(range(0, 50, 5))
    assert not set(asked.rows[10:]) & set(range(0, 50, 5))
    assert set(asked.rows[10:]) <= set(data().pool_rows("c").tolist())


def test_what_was_taught_comes_back_from_its_file(taught: dict[bool, HelpMethod], tmp_path: Path) -> None:
    path = taught[True].save(tmp_path / "help.safetensors")
    read = HelpMethod(True, file=path)
    read.teach(data(), rng(), no_progress)
    assert read.config == QUICK
    first, again = (method.adapt(target(True), 10, rng())(data().genotypes) for method in (taught[True], read))
    np.testing.assert_allclose(first.mean_ms, again.mean_ms, rtol=1e-6)
    other = data(genotypes=np.roll(data().genotypes, 1, axis=0))
    with pytest.raises(CheckpointError, match="trained with other rows"):
        HelpMethod(True, file=path).teach(other, rng(), no_progress)
    with pytest.raises(CheckpointError):
        HelpMethod(True, file=tmp_path / "absent.safetensors").teach(data(), rng(), no_progress)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": 9, "test": (9, 81)}, "a pool of at least 10 architectures, got 9"),
        ({"references": (1, 2, 3)}, "expected 10 rows, got 3"),
        ({"train_devices": ("a",)}, "at least 2 of data.train_devices, got 1"),
    ],
)
def test_data_that_do_not_teach_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        HelpMethod(True, QUICK).teach(data(**changes), rng(), no_progress)


def test_rows_that_lack_and_clocks_that_stand_are_refused(taught: dict[bool, HelpMethod]) -> None:
    measured = data().measured.copy()
    measured[[3, 7], 0] = np.nan
    with pytest.raises(DataError, match="2 of the pool's lack some"):
        HelpMethod(True, QUICK).teach(data(measured=measured), rng(), no_progress)
    with pytest.raises(DataError, match="all 10 reference architectures measure 3"):
        taught[True].adapt(
            Target(np.where(np.arange(81) % 5, np.arange(81.0) + 4, 3.0), 50, 20, np.arange(50)), 10, rng()
        )
