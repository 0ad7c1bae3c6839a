"""Accuracies that need no learning: equal ones, and those of a whole small space."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hwnas.accuracy.config import PREDICTORS, PredictorConfig
from hwnas.accuracy.known import equal_accuracy, holds_whole_space
from hwnas.accuracy.labels import fewest_rows
from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.accuracy.scoring import cross_validate, nothing_scored
from hwnas.errors import DataError
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, make_space
from hwnas.spaces.space import Floats


def space_of(networks: int) -> OfaMbv3Space:
    """A space of so many networks: they differ in their resolution alone."""
    resolutions = tuple(16 + 8 * number for number in range(networks))
    return make_space(
        OfaMbv3Config(
            name="few", resolution=resolutions, widths=(8, 8, 16, 24, 32, 40), strides=(1, 2, 1),
            activations=("relu", "relu", "h_swish"), se=(False, True, False), kernel_sizes=(3,), expand_ratios=(2,),
            depths=(1,), classes=4,
        )
    )  # fmt: skip


@pytest.mark.parametrize("networks", [1, 2, 5, 7, 8, 9])
@pytest.mark.parametrize("method", PREDICTORS)
def test_a_small_space_is_looked_up(tmp_path: Path, networks: int, method: str) -> None:
    space, config = space_of(networks), PredictorConfig(method=method)
    rows = space.every(100)
    assert rows is not None
    assert len(rows) == networks
    accuracies = np.linspace(0.3, 0.9, networks)
    assert holds_whole_space(space, rows, config.folds)
    predictor = AccuracyPredictor.known(space, rows, accuracies, config)
    again = AccuracyPredictor.load(predictor.save(tmp_path / "p.safetensors"), space)
    for one in (predictor, again):
        assert np.array_equal(one.mean(rows[::-1]), accuracies[::-1])
        assert one.predict(rows).std is None
        assert (one.is_lookup, one.rows) == (True, networks)


def test_a_space_that_can_be_learnt_from_is_not_looked_up() -> None:
    ten = space_of(10)
    rows = ten.every(100)
    assert rows is not None
    assert not holds_whole_space(ten, rows, folds=5)
    assert holds_whole_space(ten, rows, folds=6)  # two a fold, as scoring takes, are not there
    assert not holds_whole_space(space_of(7), space_of(7).every(100)[:6], folds=5)  # type: ignore[index]
    large = make_space(OfaMbv3Config())
    assert not holds_whole_space(large, large.sample(5, np.random.default_rng(0)), folds=5)


@pytest.mark.parametrize(("folds", "fewest"), [(2, 16), (3, 12), (5, 10), (6, 12), (10, 20)])
def test_the_fewest_rows_are_those_that_cross_validation_takes(folds: int, fewest: int) -> None:
    assert fewest_rows(folds) == fewest
    space = make_space(OfaMbv3Config(classes=4))
    rows = space.unique(space.sample(fewest, np.random.default_rng(0)))
    accuracies = np.linspace(0.5, 0.6, fewest)
    config = PredictorConfig(method="ridge", folds=folds)
    assert cross_validate(space, rows, accuracies, config, np.random.default_rng(0)).score.rows == fewest
    with pytest.raises(DataError, match=f"at least {fewest} different subnets for {folds} folds, got {fewest - 1}"):
        cross_validate(space, rows[:-1], accuracies[:-1], config, np.random.default_rng(0))


@pytest.mark.parametrize("value", [1.0, 0.9, 0.1 + 0.2])
def test_equal_accuracies_are_equal_for_networks_that_were_not_measured(tmp_path: Path, value: float) -> None:
    space, rng = make_space(OfaMbv3Config()), np.random.default_rng(0)
    rows = space.sample(30, rng)
    assert equal_accuracy(space, rows, np.full(30, value)) == pytest.approx(value, abs=1e-12)
    assert equal_accuracy(space, rows, np.where(np.arange(30) == 3, 0.5, value)) is None
    predictor = AccuracyPredictor.known(space, rows, np.full(30, value), PredictorConfig())
    predictor = AccuracyPredictor.load(predictor.save(tmp_path / "p.safetensors"), space)
    assert len(set(predictor.mean(space.sample(1000, rng)).tolist())) == 1  # to the last bit: else it would be an order
    assert predictor.equal_accuracy == pytest.approx(value, abs=1e-12)


def test_undefined_scores_are_null_in_json() -> None:
    def text(accuracies: Floats) -> str:
        return json.dumps(nothing_scored(accuracies).to_dict(), allow_nan=False)

    assert '"kendall_tau": null, "spearman": null, "mae": 0.0' in text(np.full(20, 1.0))
    assert '"mae": null' in text(np.array([0.5, 0.7]))
    assert '"mae": null' in text(np.array([0.5]))


def test_one_network_that_differs_is_no_reason_to_stop() -> None:
    """Its fold's rest is constant, the other folds are: their correlations don't count, whatever is left does."""
    space, rng = make_space(OfaMbv3Config(classes=4)), np.random.default_rng(0)
    rows = space.unique(space.sample(20, rng))
    accuracies = np.where(np.arange(20) == 7, 0.9, 1.0)
    found = cross_validate(space, rows, accuracies, PredictorConfig(), rng)
    assert found.score.kendall_tau is None
    assert found.score.mae is not None
    assert np.isfinite(found.score.mae)
    fitted = AccuracyPredictor.fit(space, rows, accuracies, PredictorConfig(), rng)
    assert np.isfinite(fitted.mean(rows)).all()
