"""How exported files are checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hwnas.errors import ConfigError, choices
from hwnas.export.signature import given_inputs

__all__ = ["ExportConfig", "VerifyConfig"]


CALIBRATION_METHODS = ("percentile", "minmax", "entropy")


@dataclass(frozen=True)
class ExportConfig:
    """How networks become files, and what is asked of these.

    `parity_images` real images go through the file and through torch; the logits of a float file may differ by
    `parity_tolerance` (float32 runtimes sum in another order than torch, which moves logits near 10 by about 1e-5),
    those of an fp16 file by `fp16_tolerance` (a CIFAR-10 net's were seen to differ by 0.016); other outputs by that
    much for values up to 10, and in proportion beyond; of integers, it is the share that may differ.
    Quantised files read the ranges of activations off `calibration_images`, those of ONNX by `calibration_method`:
    `minmax`, `entropy` or `percentile`, which cuts off where `calibration_percentile` % of values stay below.
    `reduce_range` keeps their weights to 7 bits, for x86 processors without VNNI, whose 16-bit sums overflow otherwise.
    The files may lose `max_accuracy_drop`, a fraction of held-out images, against torch. Where they lose more, the
    most sensitive layers stay float as long as `mixed_precision` allows; a file that still loses more is refused,
    unless `allow_accuracy_drop`.
    `allow_unsupported`: what preflight says that the device won't run is exported all the same.
    `dynamic_batch`: ONNX files take any number of images. `tvm_target` is LLVM's triple and processor, such as
    `aarch64-linux-gnu cortex-a76` (None: this machine); TVM tries `tuning_trials` schedules (0: its defaults).
    `measure_latency`: whether the files are timed on their device.
    `inputs` of a module that takes others than one image: shapes for a batch of one, by the names of its forward's
    parameters, or in their order (see `hwnas.export.signature.given_inputs`); it is then checked on noise.
    `processes` write and check files side by side, a GiB of memory each (0: one a core, and at least four files each).
    """

    parity_images: int = 256
    parity_tolerance: float = 1e-3
    fp16_tolerance: float = 0.1
    calibration_images: int = 256
    calibration_method: str = "percentile"
    calibration_percentile: float = 99.9
    reduce_range: bool = False
    max_accuracy_drop: float = 0.01
    allow_accuracy_drop: bool = False
    mixed_precision: bool = True
    allow_unsupported: bool = False
    dynamic_batch: bool = False
    tvm_target: str | None = None
    tuning_trials: int = 0
    measure_latency: bool = True
    inputs: Any = None
    processes: int = 0

    def __post_init__(self) -> None:
        given_inputs(self.inputs)
        for key, least in (("parity_images", 1), ("calibration_images", 1), ("tuning_trials", 0), ("processes", 0)):
            if getattr(self, key) < least:
                raise ConfigError(f"export.{key}: expected at least {least}, got {getattr(self, key)}")
        for name in ("parity_tolerance", "fp16_tolerance"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"export.{name}: expected more than 0, got {getattr(self, name)}")
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


@dataclass(frozen=True)
class VerifyConfig:
    """What `hwnas verify-bundle` asks of a bundle's speed.

    `latency`: whether the file is timed. The latency, the device's drift divided out by a network measured beside it
    then and now, may be `latency_tolerance` of the manifest's longer: machines that others use too were seen to move by
    a fifth from one minute to the next. A file that has become faster is not complained about.
    """

    latency: bool = True
    latency_tolerance: float = 0.5

    def __post_init__(self) -> None:
        if not self.latency_tolerance > 0:
            raise ConfigError(
                f"verify.latency_tolerance: expected a share above 0 such as 0.5, got {self.latency_tolerance}"
            )
