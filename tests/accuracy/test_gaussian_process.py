"""The Gaussian process: its uncertainty, its likelihood, and real labels."""

from __future__ import annotations

import ast
import csv
from pathlib import Path

import numpy as np
import pytest

from hwnas import gaussian
from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.features import GeneFeatures, Layout
from hwnas.accuracy.gaussian_process import GaussianProcess
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import score
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space
from hwnas.spaces.space import Floats
from tests.narrow import present
from tests.slopes import slope_errors

ONE_GROUP = Layout(unit=np.array([0, 1]), group=np.array([0, 0]))


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config())


@pytest.fixture(scope="module")
def published(space: OfaMbv3Space, reference_data: Path) -> tuple[np.ndarray, Floats]:
    """DyNAS-T's subnets of the public supernet and their ImageNet top-1, repeats averaged."""
    files = sorted((reference_data / "dynast").glob("*.csv"))
    if not files:
        pytest.skip(f"no dynast/*.csv in {reference_data}")
    found: dict[bytes, tuple[np.ndarray, list[float]]] = {}
    for file in files:
        for record in csv.DictReader(file.read_text().splitlines()):
            row = space.genotype(ast.literal_eval(record["Sub-network"]))
            found.setdefault(row.tobytes(), (row, []))[1].append(float(record["Top-1 Acc (%)"]) / 100)
    return np.stack([row for row, _ in found.values()]), np.array([np.mean(values) for _, values in found.values()])


def smooth(inputs: Floats) -> Floats:
    return np.sin(2 * inputs[:, 0]) + 0.5 * inputs[:, 1]


def fit(count: int, noise: float, seed: int = 0) -> GaussianProcess:
    rng = np.random.default_rng(seed)
    inputs = rng.uniform(-2, 2, size=(count, 2))
    return GaussianProcess.fit(inputs, smooth(inputs) + noise * rng.normal(size=count), ONE_GROUP, 200, 600, rng)


def test_the_gradient_of_the_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-2, 2, size=(12, 4))
    layout = Layout(unit=np.arange(4), group=np.array([0, 0, 1, 2]))
    labels = smooth(inputs) + 0.1 * rng.normal(size=12)

    def fit_all() -> object:
        return GaussianProcess.fit(inputs, labels, layout, 200, 600, rng)

    assert max(slope_errors(monkeypatch, gaussian, fit_all)) < 1e-5


def test_follows_a_curve_and_knows_where_it_does_not() -> None:
    process = fit(80, 0.0)
    inside = np.random.default_rng(1).uniform(-1.8, 1.8, size=(500, 2))
    mean, std = process.predict(inside, with_std=True)
    assert std is not None
    assert np.abs(mean - smooth(inside)).max() < 0.15
    far = process.predict(np.full((1, 2), 8.0), with_std=True)[1]
    assert far is not None
    assert far[0] > 5 * std.max()


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_intervals_hold_nine_in_ten_measurements(noise: float) -> None:
    rng = np.random.default_rng(2)
    shares = []
    for seed in range(5):
        inputs = rng.uniform(-2, 2, size=(1000, 2))
        mean, std = fit(100, noise, seed).predict(inputs, with_std=True)
        assert std is not None
        measured = smooth(inputs) + noise * rng.normal(size=1000)
        shares.append(np.mean(np.abs(measured - mean) <= 1.6449 * std))
    assert 0.86 <= np.mean(shares) <= 0.94


def test_prediction_equals_the_textbook_formulas() -> None:
    process = fit(30, 0.1)
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-2, 2, size=(30, 2))
    labels = smooth(inputs) + 0.1 * rng.normal(size=30)
    test = np.random.default_rng(5).uniform(-2, 2, size=(7, 2))
    arrays = process.arrays
    matern, noise, mean, spread = arrays["scalars"]

    def kernel(a: Floats, b: Floats) -> Floats:
        a, b = ((x - arrays["centre"]) * arrays["scale"] for x in (a, b))
        linear = (a * arrays["linear_scale"] ** 2) @ b.T
        distance = np.sqrt(5 * (((a[:, None] - b) * arrays["distance_scale"]) ** 2).sum(axis=-1))
        found: Floats = linear + matern * (1 + distance + distance**2 / 3) * np.exp(-distance)
        return found

    inverse = np.linalg.inv(kernel(inputs, inputs) + (noise + 1e-6) * np.eye(30))
    cross = kernel(test, inputs)
    expected = mean + spread * cross @ inverse @ ((labels - mean) / spread)
    variance = np.diag(kernel(test, test) - cross @ inverse @ cross.T) + noise
    found, std = process.predict(test, with_std=True)
    assert np.allclose(found, expected)
    assert std is not None
    assert np.allclose(std, spread * np.sqrt(variance))


def test_many_rows_are_all_used_but_not_for_the_hyperparameters() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.uniform(-2, 2, size=(400, 2))
    process = GaussianProcess.fit(inputs, smooth(inputs), ONE_GROUP, 100, 50, rng)
    assert process.arrays["inputs"].shape == (400, 2)
    assert np.abs(process.predict(inputs, with_std=False)[0] - smooth(inputs)).max() < 0.1


def test_features_that_never_vary_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    inputs = np.concatenate([rng.uniform(-2, 2, size=(60, 2)), np.full((60, 1), 3.0)], axis=1)
    layout_of_three = Layout(unit=np.array([0, 1, 2]), group=np.array([0, 0, 1]))
    process = GaussianProcess.fit(inputs, smooth(inputs), layout_of_three, 200, 600, rng)
    mean, std = process.predict(inputs, with_std=True)
    assert np.abs(mean - smooth(inputs)).max() < 0.1
    assert std is not None
    assert np.isfinite(std).all()


def test_feature_layout_follows_the_genes(space: OfaMbv3Space) -> None:
    encode = GeneFeatures(space)
    columns = encode.layout
    rows = space.sample(20, np.random.default_rng(0))
    features = encode(rows)
    assert features.shape == (20, len(columns.unit)) == (20, len(columns.group))
    # Kernel sizes, expand ratios, depths, the resolution, and quantities.
    assert columns.group.max() + 1 == 5
    gene = space.gene_index["e7"]
    changed = rows.copy()
    changed[:, gene] = (rows[:, gene] + 1) % 3
    moved = np.any(encode(changed) != features, axis=0)
    assert set(columns.unit[moved]) <= {gene, len(space.genes), len(space.genes) + 1}
    assert gene in columns.unit[moved]


@pytest.mark.parametrize(("rows", "floor"), [(50, 0.85), (100, 0.885), (200, 0.92), (400, 0.945)])
def test_ranks_published_subnets(
    space: OfaMbv3Space, published: tuple[np.ndarray, Floats], rows: int, floor: float
) -> None:
    genotypes, accuracies = published
    taus = []
    for seed in range(3 if rows < 400 else 1):
        order = np.random.default_rng(seed).permutation(len(genotypes))
        seen, rest = order[:rows], order[rows:]
        predictor = AccuracyPredictor.fit(
            space, genotypes[seen], accuracies[seen], PredictorConfig(), np.random.default_rng(seed)
        )
        result = score(predictor, genotypes[rest], accuracies[rest])
        taus.append(present(result.kendall_tau))
        assert present(result.interval_coverage) > 0.75
    assert np.mean(taus) >= floor
