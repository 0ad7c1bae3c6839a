"""How the accuracy of subnets is measured. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from hwnas.errors import ConfigError

__all__ = ["EvaluationConfig", "MeasureConfig"]


@dataclass(frozen=True)
class MeasureConfig:
    """BatchNorm is calibrated on the first `calibration_images` held-out images, or training images where the held-out
    ones are a folder's (see `ImageData.calibration`), in batches of `calibration_batch`, whatever split is then
    evaluated; labels play no part in it. `images` limits the evaluated
    images to the first so many; 0 takes all. For int8 the ranges of activations are read off the first `range_images`
    of the calibration images. Prepared images are kept where they need at most `memory_limit_mib`.
    """

    calibration_images: int = 1000
    calibration_batch: int = 200
    batch_size: int = 250
    range_images: int = 256
    images: int = 0
    memory_limit_mib: int = 4096

    def __post_init__(self) -> None:
        for key in ("calibration_images", "calibration_batch", "batch_size", "range_images"):
            if getattr(self, key) < 2:
                raise ConfigError(f"measure.{key}: expected at least 2, got {getattr(self, key)}")
        if self.memory_limit_mib < 1:
            raise ConfigError(f"measure.memory_limit_mib: expected at least 1, got {self.memory_limit_mib}")
        if self.images < 0:
            raise ConfigError(f"measure.images: expected 0 (all) or more, got {self.images}")


@dataclass(frozen=True)
class EvaluationConfig:
    """Which subnets teach the accuracy predictor: `subnets` random ones, beside the largest and the smallest."""

    subnets: int = 250
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self) -> None:
        if self.subnets < 20:
            raise ConfigError(f"evaluation.subnets: expected at least 20 to learn from, got {self.subnets}")
