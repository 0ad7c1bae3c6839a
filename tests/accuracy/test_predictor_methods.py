"""What single methods promise beyond the contract: trees, trained networks and encodings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.accuracy.config import EnsembleConfig, MlpConfig, NetworkTrainingConfig, PredictorConfig, TreesConfig
from hwnas.accuracy.encoding import gene_encoding, path_encoding
from hwnas.accuracy.network import GeneNetwork
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import score
from hwnas.accuracy.training import initial_layers
from hwnas.accuracy.trees import Trees
from hwnas.errors import DataError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space
from tests.narrow import present

QUICK = NetworkTrainingConfig(epochs=40, learning_rate=3e-3, weight_decay=3)


@pytest.fixture(scope="module")
def space() -> OfaMbv3Space:
    return make_space(OfaMbv3Config())


def test_gene_encoding_is_the_spaces_features(space: OfaMbv3Space) -> None:
    rows = space.sample(200, np.random.default_rng(0))
    assert np.array_equal(gene_encoding(space).encode(rows), space.features(rows))


def test_path_encoding_says_which_pieces_a_path_has(space: OfaMbv3Space) -> None:
    encoding = path_encoding(space)
    row = space.genotype({"ks": [3, 5, 7, 7] * 5, "e": [3, 4, 6, 6] * 5, "d": [2, 3, 4, 2, 2], "r": 160})
    encoded = encoding.encode(row[None])[0]
    active = space.active(row[None])[0]
    for value, condition in zip(encoded, encoding.conditions, strict=True):
        digits = {gene: row[gene] if active[gene] else -1 for gene, _ in condition}
        assert value == all(digits[gene] == choice for gene, choice in condition)
    # A gene each, a block each, and each block with the next, which may be none.
    kept = 2 + 3 + 4 + 2 + 2
    assert encoded.sum() == (2 * kept + 6) + kept + kept
    assert len(set(encoding.conditions)) == encoding.features


@pytest.mark.parametrize("make", [gene_encoding, path_encoding])
@pytest.mark.parametrize("config", [OfaMbv3Config(), OfaMbv3Config(kernel_sizes=(3,), depths=(1, 2), resolution=(64,))])
def test_first_layer_by_tables_equals_the_product(make: object, config: OfaMbv3Config) -> None:
    space = make_space(config)
    encoding = make(space)  # type: ignore[operator]
    rng = np.random.default_rng(0)
    layers = initial_layers(encoding.features, (8,), 2, 10, rng)
    rows = space.sample(1500, rng)
    units = np.maximum(encoding.encode(rows) @ layers[0][0].T + layers[0][1], 0) @ layers[1][0].T + layers[1][1]
    assert np.allclose(GeneNetwork(encoding, layers)(rows), units, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_trees_as_arrays_predict_as_scikit_learn(depth: int) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(90, 5))
    labels = np.sin(2 * inputs[:, 0]) * inputs[:, 1] + 5
    config = TreesConfig(trees=30, depth=depth, row_share=0.5, feature_share=1.0)
    trees = Trees.fit(inputs, labels, config, np.random.default_rng(3))
    peer = ensemble.GradientBoostingRegressor(
        n_estimators=30, max_depth=depth, learning_rate=config.learning_rate, subsample=0.5, max_features=1.0,
        random_state=int(np.random.default_rng(3).integers(2**31)),
    )  # fmt: skip
    peer.fit(inputs, ((labels - labels.mean()) / labels.std()).astype(np.float32))
    test = rng.normal(size=(1300, 5))
    mean, std = trees.predict(test, with_std=True)
    assert std is None
    assert np.allclose(mean, labels.mean() + labels.std() * peer.predict(test), rtol=0, atol=1e-9)
    assert np.ptp(mean) > 0.5


def labelled(space: OfaMbv3Space, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies that follow what is free to know, with a little of their own."""
    rng = np.random.default_rng(5)
    rows = space.unique(space.sample(count, rng))
    return rows, 0.6 + 0.02 * np.log(space.macs(rows) / 1e8) + 0.0005 * rng.normal(size=len(rows))


def test_pretraining_on_free_labels_helps_where_labels_are_few(space: OfaMbv3Space) -> None:
    rows, accuracies = labelled(space, 300)
    taus = []
    for subnets in (0, 600):
        mlp = MlpConfig(hidden=(48, 48), training=QUICK, pretraining_subnets=subnets)
        config = PredictorConfig(method="mlp", mlp=mlp)
        predictor = AccuracyPredictor.fit(space, rows[:30], accuracies[:30], config, np.random.default_rng(0))
        taus.append(present(score(predictor, rows[30:], accuracies[30:]).kendall_tau))
    assert taus[1] > taus[0] + 0.05


def test_latency_is_a_free_label(space: OfaMbv3Space) -> None:
    rows, accuracies = labelled(space, 60)
    mlp = MlpConfig(hidden=(16,), training=QUICK, pretraining_subnets=100, pretraining_epochs=2)
    config = PredictorConfig(method="mlp", mlp=mlp)
    without = AccuracyPredictor.fit(space, rows, accuracies, config, np.random.default_rng(0))
    free = {"latency_ms": lambda genotypes: 3.0 + genotypes[:, 0]}
    given = AccuracyPredictor.fit(space, rows, accuracies, config, np.random.default_rng(0), free)
    assert not np.array_equal(given.mean(rows), without.mean(rows))
    bad = {"latency_ms": lambda genotypes: np.zeros(len(genotypes))}
    with pytest.raises(DataError, match="free label 'latency_ms': expected one positive number for each of 100"):
        AccuracyPredictor.fit(space, rows, accuracies, config, np.random.default_rng(0), bad)


def test_ensemble_knows_what_it_has_not_seen(space: OfaMbv3Space) -> None:
    rows, accuracies = labelled(space, 1000)
    low = rows[:, -1] <= 1
    config = PredictorConfig(method="ensemble", ensemble=EnsembleConfig(networks=5, hidden=(24,), training=QUICK))
    seen, rest = rows[low][:120], rows[low][120:]
    predictor = AccuracyPredictor.fit(space, seen, accuracies[low][:120], config, np.random.default_rng(0))
    result = score(predictor, rest, accuracies[low][120:])
    assert result.interval_coverage is not None
    assert 0.7 < result.interval_coverage <= 1
    inside, outside = predictor.predict(rest).std, predictor.predict(rows[~low]).std
    assert inside is not None
    assert outside is not None
    assert (inside > 0).all()


def test_networks_are_offered_for_bounds(space: OfaMbv3Space) -> None:
    rows, accuracies = labelled(space, 60)
    mlp = MlpConfig(hidden=(16,), training=QUICK, pretraining_subnets=0)
    predictor = AccuracyPredictor.fit(
        space, rows, accuracies, PredictorConfig(method="mlp", mlp=mlp), np.random.default_rng(0)
    )
    [network] = predictor.networks
    slope, offset = np.polyfit(network(rows)[:, 0], predictor.mean(rows), 1)
    assert slope > 0
    assert np.allclose(slope * network(rows)[:, 0] + offset, predictor.mean(rows), rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["mlp", "ensemble", "gbdt"])
def test_prediction_needs_neither_torch_nor_scikit_learn(space: OfaMbv3Space, method: str, tmp_path: Path) -> None:
    rows, accuracies = labelled(space, 60)
    config = PredictorConfig(
        method=method,
        mlp=MlpConfig(hidden=(16,), training=QUICK, pretraining_subnets=0),
        ensemble=EnsembleConfig(networks=2, hidden=(8,), training=QUICK),
        gbdt=TreesConfig(trees=10),
    )
    predictor = AccuracyPredictor.fit(space, rows, accuracies, config, np.random.default_rng(0))
    path = predictor.save(tmp_path / "predictor.safetensors")
    code = (
        "import sys, numpy as np\n"
        "sys.modules['torch'] = sys.modules['sklearn'] = None\n"
        "from hwnas.accuracy.config import PredictorConfig\n"
        "from hwnas.accuracy.predictor import AccuracyPredictor\n"
        "from hwnas.errors import MissingExtraError\n"
        "from hwnas.spaces import OfaMbv3Config, make_space\n"
        "space = make_space(OfaMbv3Config())\n"
        f"predictor = AccuracyPredictor.load({str(path)!r}, space)\n"
        "rows = space.sample(20, np.random.default_rng(0))\n"
        "values = predictor.mean(rows)\n"
        "try:\n"
        "    AccuracyPredictor.fit(space, rows, np.linspace(0, 1, 20), predictor.config, np.random.default_rng(0))\n"
        "except MissingExtraError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'hwnas[train]'" in done.stdout
