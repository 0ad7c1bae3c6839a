"""What every accuracy predictor promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pytest

from hwnas.accuracy.config import (
    PREDICTORS,
    EnsembleConfig,
    GaussianProcessConfig,
    MlpConfig,
    NetworkTrainingConfig,
    PredictorConfig,
    TreesConfig,
)
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import cross_validate, score
from hwnas.errors import ArchError, CheckpointError, ConfigError, DataError, StorageError
from hwnas.spaces import Genotypes, OfaMbv3Config, OfaMbv3Space, make_space
from hwnas.spaces.space import Floats
from tests.narrow import present

NOISE = 0.001
# The shipped settings take seconds a fit; what every method promises shows with less.
QUICK = NetworkTrainingConfig(epochs=60, learning_rate=3e-3, weight_decay=3)
MLP = MlpConfig(hidden=(64, 64), training=QUICK, pretraining_subnets=400, pretraining_epochs=5)
ENSEMBLE = EnsembleConfig(networks=3, hidden=(32,), training=QUICK)
Change = Callable[[Genotypes, Floats], tuple[Genotypes, Floats]]


@dataclass(frozen=True)
class Labels:
    """Subnets with made-up accuracies: additive effects, interactions through a saturation, and noise."""

    count: int = 500

    @cached_property
    def space(self) -> OfaMbv3Space:
        return make_space(OfaMbv3Config())

    @cached_property
    def genotypes(self) -> Genotypes:
        return self.space.unique(self.space.sample(self.count, np.random.default_rng(0)))

    @cached_property
    def accuracies(self) -> Floats:
        rng = np.random.default_rng(1)
        features = self.space.features(self.genotypes)
        worth = features @ rng.uniform(0, 1, features.shape[1])
        worth = (worth - worth.mean()) / worth.std()
        made: Floats = 0.75 + 0.01 * np.tanh(worth + 0.5) + NOISE * rng.normal(size=len(worth))
        return made


@pytest.fixture(scope="module")
def labels() -> Iterator[Labels]:
    yield Labels()
    fitted.cache_clear()


@pytest.fixture(params=PREDICTORS)
def config(request: pytest.FixtureRequest) -> PredictorConfig:
    return PredictorConfig(method=request.param, mlp=MLP, ensemble=ENSEMBLE)


@lru_cache
def fitted(labels: Labels, config: PredictorConfig, rows: int = 200) -> AccuracyPredictor:
    return AccuracyPredictor.fit(
        labels.space, labels.genotypes[:rows], labels.accuracies[:rows], config, np.random.default_rng(0)
    )


def test_ranks_and_predicts_unseen_subnets(labels: Labels, config: PredictorConfig) -> None:
    result = score(fitted(labels, config), labels.genotypes[200:], labels.accuracies[200:])
    assert present(result.kendall_tau) > 0.6
    assert present(result.spearman) > 0.8
    assert present(result.mae) < 3 * NOISE
    assert result.rows == len(labels.genotypes) - 200


def test_mean_equals_predict_and_rows_are_independent(labels: Labels, config: PredictorConfig) -> None:
    predictor = fitted(labels, config)
    rows = labels.genotypes[200:300]
    estimate = predictor.predict(rows)
    assert estimate.mean.shape == (100,)
    # Networks predict in float32, whose last digits depend on how many rows a product has.
    assert np.allclose(predictor.mean(rows), estimate.mean, rtol=0, atol=1e-12)
    assert np.allclose(predictor.mean(rows[::-1])[::-1], estimate.mean, rtol=0, atol=1e-7)
    assert np.allclose(predictor.mean(rows[7:8]), estimate.mean[7:8], rtol=0, atol=1e-7)
    assert predictor.mean(rows[:0]).shape == (0,)


def test_predictions_span_chunks_seamlessly(labels: Labels, config: PredictorConfig) -> None:
    predictor = fitted(labels, config, rows=50)
    many = np.tile(labels.genotypes[:300], (30, 1))
    assert np.allclose(predictor.mean(many), np.tile(predictor.mean(labels.genotypes[:300]), 30), rtol=0, atol=1e-7)


def test_same_rows_same_predictor(labels: Labels, config: PredictorConfig) -> None:
    first, again = fitted(labels, config), fitted.__wrapped__(labels, config)
    assert np.array_equal(first.mean(labels.genotypes), again.mean(labels.genotypes))


def test_saved_predictor_predicts_the_same(labels: Labels, config: PredictorConfig, tmp_path: Path) -> None:
    predictor = fitted(labels, config)
    path = predictor.save(tmp_path / "predictor.safetensors")
    again = AccuracyPredictor.load(path, make_space(OfaMbv3Config()))
    expected, loaded = predictor.predict(labels.genotypes), again.predict(labels.genotypes)
    assert np.array_equal(loaded.mean, expected.mean)
    assert (loaded.std is None) == (expected.std is None)
    if expected.std is not None and loaded.std is not None:
        assert np.array_equal(loaded.std, expected.std)
    assert (again.config, again.rows) == (predictor.config, 200)


def test_a_predictor_of_another_space_is_refused(labels: Labels, config: PredictorConfig, tmp_path: Path) -> None:
    path = fitted(labels, config, rows=20).save(tmp_path / "predictor.safetensors")
    with pytest.raises(CheckpointError, match=r"another space: expected width_mult 1\.2, got 1\.0"):
        AccuracyPredictor.load(path, make_space(OfaMbv3Config(width_mult=1.2)))


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused(labels: Labels, config: PredictorConfig, tmp_path: Path, keep: float) -> None:
    path = fitted(labels, config, rows=20).save(tmp_path / "predictor.safetensors")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(CheckpointError, match=r"predictor\.safetensors is not a complete accuracy predictor") as caught:
        AccuracyPredictor.load(path, labels.space)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(labels: Labels, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"weights": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is not an accuracy predictor"):
        AccuracyPredictor.load(tmp_path / "other.safetensors", labels.space)
    with pytest.raises(CheckpointError, match="no accuracy predictor at"):
        AccuracyPredictor.load(tmp_path / "absent.safetensors", labels.space)


def test_a_file_that_lacks_an_array_is_refused(labels: Labels, config: PredictorConfig, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = fitted(labels, config, rows=20).save(tmp_path / "predictor.safetensors")
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in sorted(file.keys())[1:]}
        metadata = file.metadata()
    save_file(arrays, path, metadata)
    with pytest.raises(CheckpointError, match="holds no valid accuracy predictor"):
        AccuracyPredictor.load(path, labels.space)


def test_a_failed_write_is_a_storage_error(labels: Labels, config: PredictorConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        fitted(labels, config, rows=20).save(tmp_path / "file" / "predictor.safetensors")


def test_repeated_subnets_count_once_with_their_mean(labels: Labels, config: PredictorConfig) -> None:
    rows, values = labels.genotypes[:60], labels.accuracies[:60]
    doubled = AccuracyPredictor.fit(
        labels.space,
        np.concatenate([rows, rows]),
        np.concatenate([values + 0.01, values - 0.01]),
        config,
        np.random.default_rng(0),
    )
    assert doubled.rows == 60
    once = fitted(labels, config, rows=60)
    assert np.allclose(doubled.mean(labels.genotypes), once.mean(labels.genotypes), rtol=0, atol=1e-6)


def test_genes_without_effect_do_not_matter(labels: Labels, config: PredictorConfig) -> None:
    rows = labels.genotypes[:100]
    other = np.where(labels.space.active(rows), rows, 1)
    assert not np.array_equal(rows, other)
    first = AccuracyPredictor.fit(labels.space, rows, labels.accuracies[:100], config, np.random.default_rng(0))
    second = AccuracyPredictor.fit(labels.space, other, labels.accuracies[:100], config, np.random.default_rng(0))
    assert np.array_equal(first.mean(rows), second.mean(rows))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows, values: (rows[:7], values[:7]), "at least 8 different subnets, got 7"),
        (lambda rows, values: (np.tile(rows[:3], (9, 1)), np.tile(values[:3], 9)), "different subnets, got 3"),
        (lambda rows, values: (rows[:0], values[:0]), "different subnets, got 0"),
        (lambda rows, values: (rows, np.where(np.arange(len(values)) == 5, np.nan, values)), "row 5"),
        (lambda rows, values: (rows, np.where(np.arange(len(values)) == 5, np.inf, values)), "not numbers"),
        (lambda rows, values: (rows, 100 * values), "divide percentages by 100"),
        (lambda rows, values: (rows, -values), "fractions from 0 to 1"),
        (lambda rows, values: (rows, np.full(len(values), 0.1)), r"same accuracy 0\.1"),
        (lambda rows, values: (rows, values[:-1]), "one a genotype"),
    ],
)
def test_labels_that_teach_nothing_are_refused(
    labels: Labels, config: PredictorConfig, change: Change, message: str
) -> None:
    rows, values = change(labels.genotypes[:40], labels.accuracies[:40])
    with pytest.raises(DataError, match=message) as caught:
        AccuracyPredictor.fit(labels.space, rows, values, config, np.random.default_rng(0))
    assert "\n" not in str(caught.value)


def test_genotypes_of_another_space_are_refused(labels: Labels, config: PredictorConfig) -> None:
    with pytest.raises(ArchError):
        AccuracyPredictor.fit(
            labels.space, labels.genotypes[:40, :-1], labels.accuracies[:40], config, np.random.default_rng(0)
        )


def test_eight_rows_are_enough_to_fit(labels: Labels, config: PredictorConfig) -> None:
    predictor = fitted(labels, config, rows=8)
    assert np.isfinite(predictor.mean(labels.genotypes)).all()


def test_cross_validation_tells_what_unseen_subnets_tell(labels: Labels, config: PredictorConfig) -> None:
    rows, values = labels.genotypes[:200], labels.accuracies[:200]
    result = cross_validate(labels.space, rows, values, config, np.random.default_rng(0))
    unseen = score(fitted(labels, config), labels.genotypes[200:], labels.accuracies[200:])
    assert result.score.kendall_tau == pytest.approx(unseen.kendall_tau, abs=0.08)
    assert result.score.rows == len(result.predicted) == 200
    assert np.array_equal(result.measured, values)
    assert np.corrcoef(result.predicted, result.measured)[0, 1] > 0.8


def test_cross_validation_of_noise_is_near_zero(labels: Labels, config: PredictorConfig) -> None:
    # A predictor that had seen its test rows would rank them.
    noise = np.random.default_rng(3).uniform(0.4, 0.6, 200)
    rows = np.concatenate([labels.genotypes[:200]] * 2)
    result = cross_validate(labels.space, rows, np.tile(noise, 2), config, np.random.default_rng(0))
    assert result.score.rows == 200
    assert abs(present(result.score.kendall_tau)) < 0.2


def test_cross_validation_needs_rows_for_its_folds(labels: Labels, config: PredictorConfig) -> None:
    rows, values = labels.genotypes[:9], labels.accuracies[:9]
    with pytest.raises(DataError, match="at least 10 different subnets for 5 folds, got 9"):
        cross_validate(labels.space, rows, values, config, np.random.default_rng(0))
    ten = cross_validate(labels.space, labels.genotypes[:10], labels.accuracies[:10], config, np.random.default_rng(0))
    assert ten.score.rows == 10


@pytest.mark.parametrize("bad", [np.array([0.5]), np.array([0.5, np.nan]), np.array([0.5, 0.6, 0.7])])
def test_scores_need_two_finite_labels(labels: Labels, config: PredictorConfig, bad: Floats) -> None:
    predictor = fitted(labels, config, rows=20)
    with pytest.raises(DataError, match="two or more finite"):
        score(predictor, labels.genotypes[: min(2, len(bad))], bad)


def test_a_constant_side_has_no_rank_correlation(labels: Labels, config: PredictorConfig) -> None:
    result = score(fitted(labels, config, rows=20), labels.genotypes[:5], np.full(5, 0.7))
    assert (result.kendall_tau, result.spearman) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (PredictorConfig, "method", "forest"),
        (PredictorConfig, "folds", 1),
        (GaussianProcessConfig, "max_iterations", 0),
        (GaussianProcessConfig, "hyperparameter_rows", 5),
        (NetworkTrainingConfig, "epochs", 0),
        (NetworkTrainingConfig, "batch", 0),
        (NetworkTrainingConfig, "learning_rate", 0.0),
        (NetworkTrainingConfig, "weight_decay", -1.0),
        (MlpConfig, "hidden", ()),
        (MlpConfig, "pretraining_subnets", -1),
        (MlpConfig, "pretraining_epochs", 0),
        (EnsembleConfig, "networks", 1),
        (EnsembleConfig, "hidden", (8, 0)),
        (TreesConfig, "trees", 0),
        (TreesConfig, "depth", 7),
        (TreesConfig, "learning_rate", float("inf")),
        (TreesConfig, "row_share", 0.0),
        (TreesConfig, "feature_share", 1.5),
    ],
)
def test_bad_configs_are_refused(kind: type, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"predictor.*{key}") as caught:
        kind(**{key: value})
    assert "\n" not in str(caught.value)


def test_genes_of_a_single_choice_do_no_harm(config: PredictorConfig) -> None:
    space = make_space(OfaMbv3Config(resolution=(224,), kernel_sizes=(3,)))
    rows = space.unique(space.sample(60, np.random.default_rng(0)))
    accuracies = (0.7 + 1e-10 * space.macs(rows)).astype(np.float64)
    predictor = AccuracyPredictor.fit(space, rows[:40], accuracies[:40], config, np.random.default_rng(0))
    assert present(score(predictor, rows[40:], accuracies[40:]).kendall_tau) > 0.5
