"""How accuracy is predicted. Plain numbers: the command line reads this without torch or scipy."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["PREDICTORS", "PredictorConfig"]

PREDICTORS = ("gp", "ridge")


@dataclass(frozen=True)
class PredictorConfig:
    """Which accuracy predictor is fitted, and how it is scored.

    `method`: `gp`, a Gaussian process with an uncertainty, or `ridge`, an additive model, the floor to compare with.
    `folds`: of the cross-validation that scores it on subnets that it has not seen. `max_iterations`: of the
    Gaussian process's hyperparameter search, on at most `hyperparameter_rows` rows (all rows are fitted).
    """

    method: str = "gp"
    folds: int = 5
    max_iterations: int = 200
    hyperparameter_rows: int = 600

    def __post_init__(self) -> None:
        if self.method not in PREDICTORS:
            raise ConfigError(f"accuracy.method: {self.method!r} unknown; {choices(self.method, PREDICTORS)}")
        if self.folds < 2:
            raise ConfigError(f"accuracy.folds: expected 2 or more, got {self.folds}")
        if self.max_iterations < 1:
            raise ConfigError(f"accuracy.max_iterations: expected 1 or more, got {self.max_iterations}")
        if self.hyperparameter_rows < 50:
            raise ConfigError(f"accuracy.hyperparameter_rows: expected 50 or more, got {self.hyperparameter_rows}")
