"""How accuracy is predicted. Plain numbers: the command line reads this without torch or scipy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from hwnas.errors import ConfigError, choices

__all__ = [
    "PREDICTORS",
    "EnsembleConfig",
    "GaussianProcessConfig",
    "MlpConfig",
    "NetworkTrainingConfig",
    "PredictorConfig",
    "TreesConfig",
    "config_from_dict",
]

PREDICTORS = ("gp", "mlp", "ensemble", "gbdt", "ridge")


@dataclass(frozen=True)
class GaussianProcessConfig:
    """`max_iterations`: of the hyperparameter search, on at most `hyperparameter_rows` rows (all rows are fitted)."""

    max_iterations: int = 200
    hyperparameter_rows: int = 600

    def __post_init__(self) -> None:
        _at_least("gp.max_iterations", self.max_iterations, 1)
        _at_least("gp.hyperparameter_rows", self.hyperparameter_rows, 50)


@dataclass(frozen=True)
class NetworkTrainingConfig:
    """How a small network is trained: AdamW, the learning rate falling to 0 by a cosine, over `epochs` of the rows.

    Each step shrinks weights by `learning_rate` × `weight_decay`. With few rows that matters more than all else.
    """

    epochs: int = 60
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 10.0

    def __post_init__(self) -> None:
        _at_least("epochs", self.epochs, 1)
        _at_least("batch", self.batch, 1)
        _positive("learning_rate", self.learning_rate)
        if not 0 <= self.weight_decay < 1 / self.learning_rate:
            raise ConfigError(f"predictor: weight_decay: expected 0 to 1/learning_rate, got {self.weight_decay}")


@dataclass(frozen=True)
class MlpConfig:
    """The once-for-all paper's network: fully connected layers of `hidden` units over one-hot choices.

    `pretraining_subnets`: how many unlabelled subnets first teach it MACs, parameters and whatever else is free
    (FBNetV3), for `pretraining_epochs`; 0 for none.
    """

    hidden: tuple[int, ...] = (400, 400, 400)
    training: NetworkTrainingConfig = field(default_factory=NetworkTrainingConfig)
    pretraining_subnets: int = 2000
    pretraining_epochs: int = 15

    def __post_init__(self) -> None:
        _hidden("mlp.hidden", self.hidden)
        _at_least("mlp.pretraining_subnets", self.pretraining_subnets, 0)
        _at_least("mlp.pretraining_epochs", self.pretraining_epochs, 1)


@dataclass(frozen=True)
class EnsembleConfig:
    """BANANAS's ensemble: `networks` small networks over path-encoded architectures, each trained without a fold."""

    networks: int = 5
    hidden: tuple[int, ...] = (64,)
    training: NetworkTrainingConfig = field(
        default_factory=lambda: NetworkTrainingConfig(learning_rate=3e-3, weight_decay=3.0)
    )

    def __post_init__(self) -> None:
        _at_least("ensemble.networks", self.networks, 2)
        _hidden("ensemble.hidden", self.hidden)


@dataclass(frozen=True)
class TreesConfig:
    """Gradient-boosted trees of at most `depth` splits on the way to a leaf.

    Each tree sees `row_share` of the rows, each split `feature_share` of the features, both at random.
    """

    trees: int = 400
    depth: int = 3
    learning_rate: float = 0.05
    row_share: float = 0.7
    feature_share: float = 0.3

    def __post_init__(self) -> None:
        _at_least("gbdt.trees", self.trees, 1)
        _positive("gbdt.learning_rate", self.learning_rate)
        if not 1 <= self.depth <= 6:
            raise ConfigError(f"predictor: gbdt.depth: expected 1 to 6, got {self.depth}")
        for key in ("row_share", "feature_share"):
            if not 0 < getattr(self, key) <= 1:
                raise ConfigError(f"predictor: gbdt.{key}: expected above 0 and at most 1, got {getattr(self, key)}")


@dataclass(frozen=True)
class PredictorConfig:
    """Which accuracy predictor is fitted, and how it is scored.

    `method`: `gp`, a Gaussian process with an uncertainty; `mlp`, the once-for-all paper's network; `ensemble`,
    BANANAS's networks with an uncertainty; `gbdt`, gradient-boosted trees; or `ridge`, an additive model, the floor to
    compare with. Each but the last has settings under its name. `folds`: of the cross-validation that scores it on
    subnets that it has not seen.
    """

    method: str = "gp"
    folds: int = 5
    gp: GaussianProcessConfig = field(default_factory=GaussianProcessConfig)
    mlp: MlpConfig = field(default_factory=MlpConfig)
    ensemble: EnsembleConfig = field(default_factory=EnsembleConfig)
    gbdt: TreesConfig = field(default_factory=TreesConfig)

    def __post_init__(self) -> None:
        if self.method not in PREDICTORS:
            raise ConfigError(f"predictor.method: {self.method!r} unknown; {choices(self.method, PREDICTORS)}")
        if self.folds < 2:
            raise ConfigError(f"predictor.folds: expected 2 or more, got {self.folds}")


def config_from_dict(values: dict[str, Any]) -> PredictorConfig:
    """The config of which `values` is `dataclasses.asdict`, read from JSON.

    Raises TypeError on unknown keys and ConfigError on values that are not valid.
    """
    made: PredictorConfig = _replaced(PredictorConfig(), values)
    return made


def _replaced(default: Any, values: dict[str, Any]) -> Any:
    changes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for entry in fields(default):
        part = getattr(default, entry.name)
        if is_dataclass(part) and entry.name in changes:
            changes[entry.name] = _replaced(part, changes[entry.name])
    return replace(default, **changes)


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"predictor: {key}: expected {least} or more, got {value}")


def _positive(key: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ConfigError(f"predictor: {key}: expected a positive number, got {value}")


def _hidden(key: str, widths: tuple[int, ...]) -> None:
    if not widths or min(widths) < 1:
        raise ConfigError(f"predictor: {key}: expected one or more positive widths, got {list(widths)}")
