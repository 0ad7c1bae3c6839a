"""How latency is measured."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices
from hwnas.runtimes import PRECISIONS, PRECISIONS_OF_RUNTIME, RUNTIMES

__all__ = ["ProfilingConfig"]


@dataclass(frozen=True)
class ProfilingConfig:
    """Settings of a latency table and of the measurements that are compared with it.

    `runtime`, `precision` and `threads` name the setting; `batch` images go in at once. `pin`: whether the process is
    kept on as many cores as it has threads. A model runs for `warm_up_ms` before its first sample.

    `networks`: whole networks measured beside the operators, to learn what operators cost inside one (0: isolated
    costs stand). `rounds`: samples of each model, and up to `max_rounds` until the 95 % interval of its median is
    within `interval` of it; `slice_ms`: the time of one sample, at least `min_repeats`
    invocations. `reference_every`: models between two samples of the reference network, whose drift is divided out;
    it is loaded `reference_copies` times, since one loading differs from the next.
    `max_retries`: how often a disturbed sample is taken again. Models go to the device in groups of `chunk_models`, of
    at most `chunk_mib` of files together. `folds`: parts in which held-out error is computed.
    """

    runtime: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    batch: int = 1
    networks: int = 200
    rounds: int = 10
    max_rounds: int = 20
    interval: float = 0.02
    slice_ms: float = 3.0
    min_repeats: int = 5
    reference_every: int = 2
    reference_copies: int = 4
    warm_up_ms: float = 20.0
    max_retries: int = 2
    pin: bool = True
    chunk_models: int = 600
    chunk_mib: float = 512.0
    folds: int = 5

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ConfigError(f"profiling.runtime: {self.runtime!r} unknown: {choices(self.runtime, RUNTIMES)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"profiling.precision: {self.precision!r} unknown: {choices(self.precision, PRECISIONS)}")
        valid = PRECISIONS_OF_RUNTIME[self.runtime]
        if self.precision not in valid:
            raise ConfigError(
                f"profiling.precision: {self.runtime} is measured in {', '.join(valid)}, got {self.precision}"
            )
        for key, least in (
            ("threads", 1),
            ("batch", 1),
            ("networks", 0),
            ("rounds", 2),
            ("min_repeats", 1),
            ("max_retries", 0),
        ):
            if getattr(self, key) < least:
                raise ConfigError(f"profiling.{key}: expected at least {least}, got {getattr(self, key)}")
        for key in ("reference_every", "reference_copies", "chunk_models"):
            if getattr(self, key) < 1:
                raise ConfigError(f"profiling.{key}: expected at least 1, got {getattr(self, key)}")
        for key in ("slice_ms", "warm_up_ms", "chunk_mib", "interval"):
            if not getattr(self, key) > 0:
                raise ConfigError(f"profiling.{key}: expected a positive number, got {getattr(self, key)}")
        if self.folds < 2:
            raise ConfigError(f"profiling.folds: expected at least 2, got {self.folds}")
        if 0 < self.networks < 2 * self.folds:
            raise ConfigError(
                f"profiling.networks: expected 0 or at least {2 * self.folds} (two for each of profiling.folds), "
                f"got {self.networks}"
            )

    @property
    def setting(self) -> str:
        """The name of the table within a device's folder, such as `litert-fp32-1t`; other batches than 1 are named."""
        batch = "" if self.batch == 1 else f"-{self.batch}b"
        return f"{self.runtime}-{self.precision}-{self.threads}t{batch}"
