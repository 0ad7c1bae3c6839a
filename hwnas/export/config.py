"""How exported files are checked."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["ExportConfig"]


CALIBRATION_METHODS = ("percentile", "minmax", "entropy")


@dataclass(frozen=True)
class ExportConfig:
    """How networks become files, and what is asked of these.

    `parity_images` real images go through the file and through torch; the logits of a float file may differ by
    `parity_tolerance` (float32 runtimes sum in another order than torch, which moves logits near 10 by about 1e-5).
    Quantised files read the ranges of activations off `calibration_images` by `calibration_method`: `minmax`, `entropy`
    or `percentile`, which cuts off where `calibration_percentile` % of values stay below. `reduce_range` keeps
    weights to 7 bits, for x86 processors without VNNI, whose 16-bit sums overflow otherwise (ONNX Runtime). The files
    may lose `max_accuracy_drop`, a fraction of held-out images, against torch. Where they lose more, the most sensitive
    layers stay float as long as `mixed_precision` allows; a file that still loses more is refused, unless
    `allow_accuracy_drop`.
    `dynamic_batch`: ONNX files take any number of images. `tvm_target` is LLVM's triple and processor, such as
    `aarch64-linux-gnu cortex-a76` (None: this machine); TVM tries `tuning_trials` schedules (0: its defaults).
    """

    parity_images: int = 256
    parity_tolerance: float = 1e-3
    calibration_images: int = 256
    calibration_method: str = "percentile"
    calibration_percentile: float = 99.9
    reduce_range: bool = False
    max_accuracy_drop: float = 0.01
    allow_accuracy_drop: bool = False
    mixed_precision: bool = True
    dynamic_batch: bool = False
    tvm_target: str | None = None
    tuning_trials: int = 0

    def __post_init__(self) -> None:
        for key, least in (("parity_images", 1), ("calibration_images", 1), ("tuning_trials", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"export.{key}: expected at least {least}, got {getattr(self, key)}")
        if not self.parity_tolerance > 0:
            raise ConfigError(f"export.parity_tolerance: expected more than 0, got {self.parity_tolerance}")
        if self.calibration_method not in CALIBRATION_METHODS:
            raise ConfigError(
                f"export.calibration_method: {choices(self.calibration_method, CALIBRATION_METHODS)};"
                f" got {self.calibration_method!r}"
            )
        if not 50 < self.calibration_percentile <= 100:
            raise ConfigError(
                f"export.calibration_percentile: expected more than 50, at most 100, got {self.calibration_percentile}"
            )
        if not 0 <= self.max_accuracy_drop <= 1:
            raise ConfigError(f"export.max_accuracy_drop: expected a fraction in [0, 1], got {self.max_accuracy_drop}")
