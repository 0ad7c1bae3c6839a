"""Settings of accuracy predictors: what is just allowed, what is just refused, and what they are in files."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Any

import pytest

from hwnas.accuracy.config import (
    EnsembleConfig,
    GaussianProcessConfig,
    MlpConfig,
    NetworkTrainingConfig,
    PredictorConfig,
    TreesConfig,
    config_from_dict,
)
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "key", "allowed", "refused"),
    [
        (GaussianProcessConfig, "max_iterations", (1,), (0,)),
        (GaussianProcessConfig, "hyperparameter_rows", (50,), (49,)),
        (NetworkTrainingConfig, "epochs", (1,), (0,)),
        (NetworkTrainingConfig, "batch", (1,), (0,)),
        (NetworkTrainingConfig, "learning_rate", (1e-9, 0.05), (0.0, -1.0, float("inf"), float("nan"))),
        (NetworkTrainingConfig, "weight_decay", (0.0, 999.0), (-1e-9, 1000.0, 1001.0)),  # 1/learning_rate is 1000
        (MlpConfig, "hidden", ((1,), (3, 1)), ((), (0,), (3, 0))),
        (MlpConfig, "pretraining_subnets", (0,), (-1,)),
        (MlpConfig, "pretraining_epochs", (1,), (0,)),
        (EnsembleConfig, "networks", (2,), (1,)),
        (EnsembleConfig, "hidden", ((1,),), ((), (0,))),
        (TreesConfig, "trees", (1,), (0,)),
        (TreesConfig, "depth", (1, 6), (0, 7)),
        (TreesConfig, "learning_rate", (1e-9,), (0.0,)),
        (TreesConfig, "row_share", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (TreesConfig, "feature_share", (1e-9, 1.0), (0.0, -0.5, 1.001)),
        (PredictorConfig, "folds", (2,), (1,)),
        (MeasureConfig, "calibration_images", (2,), (1,)),
        (MeasureConfig, "calibration_batch", (2,), (1,)),
        (MeasureConfig, "batch_size", (2,), (1,)),
        (MeasureConfig, "range_images", (2,), (1,)),
        (MeasureConfig, "images", (0, 1), (-1,)),
        (MeasureConfig, "memory_limit_mib", (1,), (0,)),
    ],
)
def test_limits(kind: Any, key: str, allowed: tuple[object, ...], refused: tuple[object, ...]) -> None:
    for value in allowed:
        assert getattr(kind(**{key: value}), key) == value
    for value in refused:
        with pytest.raises(ConfigError, match=f"{key}: expected"):
            kind(**{key: value})


def test_defaults_are_those_that_were_measured() -> None:
    """The figures of accuracy predictors in benchmarks/results hold for these; a change of one is one of behaviour."""
    assert asdict(PredictorConfig()) == {
        "method": "gp",
        "folds": 5,
        "gp": {"max_iterations": 200, "hyperparameter_rows": 600},
        "mlp": {
            "hidden": (400, 400, 400),
            "training": {"epochs": 60, "batch": 32, "learning_rate": 1e-3, "weight_decay": 10.0},
            "pretraining_subnets": 2000,
            "pretraining_epochs": 15,
        },
        "ensemble": {
            "networks": 5,
            "hidden": (64,),
            "training": {"epochs": 60, "batch": 32, "learning_rate": 3e-3, "weight_decay": 3.0},
        },
        "gbdt": {"trees": 400, "depth": 3, "learning_rate": 0.05, "row_share": 0.7, "feature_share": 0.3},
    }
    assert asdict(MeasureConfig()) == {
        "calibration_images": 1000,
        "calibration_batch": 200,
        "batch_size": 250,
        "range_images": 256,
        "images": 0,
        "memory_limit_mib": 4096,
    }


@pytest.mark.parametrize(
    "config",
    [
        GaussianProcessConfig(), NetworkTrainingConfig(), MlpConfig(), EnsembleConfig(), TreesConfig(),
        PredictorConfig(), MeasureConfig(),
    ],
)  # fmt: skip
def test_settings_stay_as_they_were_checked(config: Any) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, 0)


def test_a_config_comes_back_from_json() -> None:
    config = PredictorConfig(
        method="mlp",
        folds=3,
        mlp=MlpConfig(hidden=(7, 5), training=NetworkTrainingConfig(epochs=2)),
        gbdt=TreesConfig(depth=2),
    )
    assert config_from_dict(json.loads(json.dumps(asdict(config)))) == config
    with pytest.raises(TypeError):
        config_from_dict({"unknown": 1})
    with pytest.raises(ConfigError):
        config_from_dict({"gbdt": {"depth": 9}})
