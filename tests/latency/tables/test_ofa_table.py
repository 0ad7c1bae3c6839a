"""Published once-for-all tables: the keys, the sums, and what is wrong with files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hwnas.errors import CoverageError, TableError
from hwnas.latency.tables.ofa_table import OfaTableEstimator, operator_key
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space

PROXYLESS_KEY = "expanded_conv-input:28x28x32-output:28x28x32-expand:6-kernel:5-stride:1-idskip:1"


def published(*resolutions: int, **changes: Any) -> OfaMbv3Space:
    settings: dict[str, Any] = {"width_mult": 1.2, "resolution": resolutions or (160, 176, 192, 208, 224), **changes}
    return make_space(OfaMbv3Config(**settings))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Made-up tables of every operator of two resolutions; each value says which file and which row it is of."""
    for resolution, offset in ((160, 1.0), (224, 2.0)):
        keys = [operator_key(operator) for operator in published(resolution).operators]
        rows = {key: {"count": 3, "mean": offset + number / 1000, "std": 0.1} for number, key in enumerate(keys)}
        (tmp_path / f"phone_w12_{resolution}.yaml").write_text(yaml.safe_dump(rows))
    return tmp_path


@pytest.mark.parametrize(("number", "total_ms"), [(0, 29.97), (1, 39.91)])
def test_published_networks_have_the_published_sums(reference_data: Path, number: int, total_ms: float) -> None:
    network = json.loads((reference_data / "ofa" / "note10_specialised_nets.json").read_text())[number]
    space = published(*range(160, 225, 4))
    estimator = OfaTableEstimator(reference_data / "ofa", space)
    genotype = space.genotype({key: network[key] for key in ("ks", "e", "d", "r")})
    assert estimator.device == "note10"
    assert estimator.missing == ()
    assert estimator.latency_ms(genotype[None])[0] == pytest.approx(total_ms, abs=0.005)


def test_every_resolution_is_summed_in_its_own_file(folder: Path) -> None:
    space = published(160, 224)
    estimator = OfaTableEstimator(folder, space)
    rng = np.random.default_rng(0)
    genotypes = space.sample(50, rng)
    for genotype, found in zip(genotypes, estimator.latency_ms(genotypes), strict=True):
        file = folder / f"phone_w12_{space.settings.resolution[genotype[-1]]}.yaml"
        rows = yaml.safe_load(file.read_text())
        expected = sum(rows[operator_key(operator)]["mean"] for operator in space.operators_of(genotype))
        assert found == pytest.approx(expected)
    fastest, least = estimator.fastest()
    assert least == pytest.approx(estimator.latency_ms(fastest[None])[0])
    assert least <= estimator.latency_ms(space.sample(2000, rng)).min()


def test_missing_operators_are_named(folder: Path) -> None:
    path = folder / "phone_w12_224.yaml"
    rows = yaml.safe_load(path.read_text())
    gone = next(key for key in rows if "kernel:7" in key)
    del rows[gone]
    path.write_text(yaml.safe_dump(rows))
    space = published(160, 224)
    estimator = OfaTableEstimator(folder, space)
    assert [operator_key(operator) for operator in estimator.missing] == [gone]
    found = estimator.estimate(space.sample(300, np.random.default_rng(0)))
    assert found.missing == estimator.missing
    assert np.array_equal(np.isnan(found.mean_ms), ~found.covered)
    assert 0 < found.covered.mean() < 1
    with pytest.raises(CoverageError, match="lacks 1 operators: mbconv"):
        estimator.fastest()


def test_another_width_is_not_covered(folder: Path) -> None:
    assert len(OfaTableEstimator(folder, published(160, width_mult=1.0)).missing) > 50


def test_a_resolution_without_a_file_is_named(folder: Path) -> None:
    with pytest.raises(TableError, match=r"no table for resolution 192; set space.resolution to some of 160, 224"):
        OfaTableEstimator(folder, published(160, 192))


def test_files_of_two_devices_are_refused(folder: Path) -> None:
    shutil.copy(folder / "phone_w12_160.yaml", folder / "other_w12_160.yaml")
    with pytest.raises(TableError, match="other_w12, phone_w12"):
        OfaTableEstimator(folder, published(160))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not a readable YAML table"),
        ("- 1", "expected a mapping"),
        ("a: 3", "expected a mean"),
        ("a: {count: 1, std: 0}", "expected a mean"),
        ("a: {mean: .nan}", "a: mean is nan, expected a positive number"),
        ("a: {mean: .inf}", "a: mean is inf, expected a positive number"),
        ("a: {mean: -4.2, std: .nan}", "a: mean is -4.2, expected a positive number"),
        ("a: {mean: null}", "a: mean is None, expected a number"),
        ("a: {mean: fast}", "a: mean is 'fast', expected a number"),
        ("a: {mean: '4,2'}", "a: mean is '4,2', expected a number"),
        ("a: {mean: true}", "a: mean is True, expected a number"),
        ("a: {mean: 4.2, std: -0.1}", r"a: std is -0\.1, expected a number from 0 on"),
        ("a: {mean: 4.2, std: .inf}", "a: std is inf, expected a number from 0 on"),
        ("a: {mean: 4.2, var: -.inf}", "a: var is -inf, expected a number from 0 on"),
        ("a: {mean: 4.2, var: wide}", "a: var is 'wide', expected a number"),
        ("a: {mean: 4.2, count: .nan}", "a: count is nan, expected a whole number"),
        ("a: {mean: 4.2, count: 0}", "a: count is 0, expected a whole number"),
        ("a: {mean: 4.2, count: 2.5}", r"a: count is 2\.5, expected a whole number"),
        ("a: {mean: 4.2, count: many}", "a: count is 'many', expected a number"),
        ("a: {mean: 4.2}\na: {mean: 4.3}", "a stands in lines 1 and 2"),
        ("a: {mean: 4.2, mean: 4.3}", "mean stands in lines 1 and 1"),
        ("", "expected a mapping .* got an empty file"),
        ("- {mean: 4.2}", "expected a mapping .* got a list"),
        ("a: 2024-13-45", "not a readable YAML table"),
        (PROXYLESS_KEY + ": {mean: 4.2}", "hwnas import-table format=proxyless"),
    ],
)
def test_malformed_files_are_named(folder: Path, content: str, message: str) -> None:
    (folder / "phone_w12_160.yaml").write_text(content)
    with pytest.raises(TableError, match=message) as caught:
        OfaTableEstimator(folder, published(160))
    assert "phone_w12_160.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_spread_that_is_not_known_is_no_error(folder: Path) -> None:
    path = folder / "phone_w12_160.yaml"
    expected = OfaTableEstimator(folder, published(160)).fastest()[1]
    rows = yaml.safe_load(path.read_text())
    for number, row in enumerate(rows.values()):
        del row["std"]
        row |= ({"std": float("nan")}, {"var": float("nan")}, {"var": None, "count": None}, {})[number % 4]
    path.write_text(yaml.safe_dump(rows))
    assert OfaTableEstimator(folder, published(160)).fastest()[1] == pytest.approx(expected)


def test_an_empty_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"note10_w12_224\.yaml"):
        OfaTableEstimator(tmp_path, published(160))
