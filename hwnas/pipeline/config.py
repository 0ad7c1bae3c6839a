"""What each step is asked for, and everything together as `conf/` composes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.measure_config import EvaluationConfig
from hwnas.data.config import DataConfig, DigitsConfig, FashionMnistConfig, ImageFolderConfig, NoDataConfig
from hwnas.devices.config import DeviceConfig
from hwnas.devices.fleet import FleetConfig
from hwnas.errors import ConfigError, choices, listed
from hwnas.executors.config import ExecutorConfig
from hwnas.export.config import ExportConfig, VerifyConfig
from hwnas.latency.config import OnboardConfig, ProtocolConfig
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.pipeline.estimates import AccuracyConfig, LatencyConfig
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.profiling.config import ProfilingConfig
from hwnas.runtimes import RUNTIMES
from hwnas.search.config import SearchConfig
from hwnas.spaces import SpaceConfig
from hwnas.training.config import FinetuneConfig, TrainingConfig

__all__ = [
    "BESIDE",
    "REQUIRED",
    "DeviceStep",
    "DevicesStep",
    "EvaluateLatencyStep",
    "EvaluateStep",
    "ExportStep",
    "FinetuneStep",
    "ImportTableStep",
    "OnboardStep",
    "PipelineConfig",
    "ProfileStep",
    "ReportStep",
    "RunStep",
    "SearchStep",
    "SpaceStep",
    "Step",
    "TrainStep",
    "ValidateStep",
    "ValidateTableStep",
    "VerifyBundleStep",
]

REQUIRED = "???"
"""A value that has to be given, as Hydra writes it."""

Arch = Mapping[str, Any] | str
"""A network of the space: a mapping with the space's keys, JSON text, or the path of a JSON file."""

BESIDE = ("executor", "tracking")
"""Settings that no result depends on."""

S = TypeVar("S", bound="Step")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What every step is asked for: the `seed` of all that is random, and what follows it, by `tracking`.

    Paths that are None are looked for where the step before writes, beside the folder. Raises ConfigError, one
    line, for a value that is not valid.
    """

    seed: int = 0
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    def __post_init__(self) -> None:
        for one in fields(self):
            if one.name in _CHECKS:
                _CHECKS[one.name](getattr(self, one.name))

    def part(self, kind: type[S]) -> S:
        """What of this a step of `kind` is asked for, by name; of what this does not say the default."""
        names = [one.name for one in fields(kind) if hasattr(self, one.name)]
        return kind(**{name: getattr(self, name) for name in names})

    def settings(self) -> dict[str, Any]:
        """What a result may depend on, JSON-able: all but `BESIDE`."""
        values: dict[str, Any] = to_plain(self)
        return {key: value for key, value in values.items() if key not in BESIDE}


@dataclass(frozen=True, kw_only=True)
class SpaceStep(Step):
    """A step of a space, on images. Classes and channels of the space that are 0 are the data's."""

    space: SpaceConfig
    data: DataConfig | NoDataConfig

    @property
    def images(self) -> DataConfig:
        """`data` where it is a set of images, their size the space's where it is open. ConfigError where it is not."""
        if not isinstance(self.data, (FashionMnistConfig, ImageFolderConfig, DigitsConfig)):
            raise ConfigError("data: expected data=fashion_mnist, data=image_folder, data=imagenet or data=digits")
        if not self.data.image_size:
            return replace(self.data, image_size=max(self.space.resolution))
        return self.data


@dataclass(frozen=True, kw_only=True)
class DeviceStep(Step):
    """A step on a device. `runtime` may be one name or several; each stands for that of `profiling`."""

    device: DeviceConfig = field(default_factory=DeviceConfig)
    runtime: str | tuple[str, ...] = ("onnxruntime", "litert")
    profiling: ProfilingConfig = field(default_factory=ProfilingConfig)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """`runtime` as several."""
        return (self.runtime,) if isinstance(self.runtime, str) else tuple(self.runtime)


@dataclass(frozen=True, kw_only=True)
class DevicesStep(DeviceStep):
    """A step on `device`, on several `devices`, or on those of a `fleet`."""

    devices: tuple[str, ...] = ()
    fleet: FleetConfig = field(default_factory=FleetConfig)

    def settings(self) -> dict[str, Any]:
        """Without `devices` and `fleet` where neither is given, which results of one device don't know."""
        left_out = {key for key, given in (("devices", self.devices), ("fleet", self.fleet.file)) if not given}
        return {key: value for key, value in super().settings().items() if key not in left_out}


@dataclass(frozen=True, kw_only=True)
class TrainStep(SpaceStep):
    """`hwnas train`: a supernet, or the network `arch`, from `checkpoint` where one is given."""

    checkpoint: str | None = None
    arch: Arch | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateStep(SpaceStep):
    """`hwnas evaluate`: subnets of `checkpoint`, and the accuracy predictor."""

    checkpoint: str | None = None
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class ProfileStep(SpaceStep, DevicesStep):
    """`hwnas profile`: a latency table for each device, runtime and number of `threads` (none: that of `profiling`)."""

    threads: tuple[int, ...] = ()
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)

    @property
    def settings_measured(self) -> tuple[ProfilingConfig, ...]:
        """`profiling` for each runtime and number of threads."""
        threads = self.threads or (self.profiling.threads,)
        return tuple(
            replace(self.profiling, runtime=runtime, threads=count) for runtime in self.runtimes for count in threads
        )


@dataclass(frozen=True, kw_only=True)
class ImportTableStep(SpaceStep):
    """`hwnas import-table`: the table at `path`, of the published `format`; `device`, where given, names it."""

    format: str | None = None
    path: str | None = None
    device: DeviceConfig = field(default_factory=DeviceConfig)


@dataclass(frozen=True, kw_only=True)
class SearchStep(SpaceStep, DevicesStep):
    """`hwnas search`: on `device`, or on several devices that have tables.

    `runs`: folders of runs whose supernets are searched together, each with the space, predictor and tables in its run;
    the best network of any is chosen. None: the supernet of the search's own run.
    """

    runs: tuple[str, ...] = ()
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    checkpoint: str | None = None
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class FinetuneStep(SpaceStep):
    """`hwnas finetune`: each network of a search's `targets`, from the weights in `checkpoint`."""

    checkpoint: str | None = None
    targets: str | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)


@dataclass(frozen=True, kw_only=True)
class OnboardStep(SpaceStep, DeviceStep):
    """`hwnas onboard`: a latency predictor from at most so many `measurements`, in one runtime."""

    measurements: int = 10
    onboard: OnboardConfig = field(default_factory=OnboardConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class EvaluateLatencyStep(Step):
    """`hwnas evaluate-latency`: the predictor `latency` on devices of a table of latencies."""

    data: LatencyDataConfig
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    measurements: int = 10
    seeds: int = 10
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.data, LatencyDataConfig):
            raise ConfigError("data: expected data=nasbench201, data=ofa or data=csv, a table of latencies")


@dataclass(frozen=True, kw_only=True)
class ExportStep(SpaceStep, DevicesStep):
    """`hwnas export`: the networks of a search (`targets`), the network `arch`, or the torch module `module`.

    Of a search's those for the devices, where several are given.

    `formats` and `precisions` that are empty: the runtimes' own, and those that the networks were searched for.
    """

    checkpoint: str | None = None
    targets: str | None = None
    arch: Arch | None = None
    module: str | None = None
    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class VerifyBundleStep(Step):
    """`hwnas verify-bundle`: the bundle in `folder`."""

    folder: str | None = None
    device: DeviceConfig = field(default_factory=DeviceConfig)
    profiling: ProfilingConfig = field(default_factory=ProfilingConfig)
    verify: VerifyConfig = field(default_factory=VerifyConfig)


@dataclass(frozen=True, kw_only=True)
class ValidateTableStep(DeviceStep):
    """`hwnas validate table=FILE`: on `n` networks that the table was not fitted on."""

    table: str | None = None
    n: int = 50
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class ValidateStep(SpaceStep, DevicesStep):
    """`hwnas validate`: what was `exported` of `targets`, against the tables of `latency` and the test images."""

    checkpoint: str | None = None
    targets: str | None = None
    exported: str | None = None
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class ReportStep(Step):
    """`hwnas report`: of the run in `folder` (None: the folder above), called `name`."""

    name: str = "quickstart"
    folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunStep(SpaceStep, DevicesStep):
    """`hwnas run`: all steps from images to validated files, for each of the devices.

    `checkpoint`: what training starts from; None: fresh weights. `hours`: what the whole is to take; settings are then
    chosen to fit (see `hwnas.pipeline.plan.fit`), but for those that are `given`, by key, such as `data.image_size`.
    None: the settings as they are, however long they take.
    """

    name: str = "quickstart"
    checkpoint: str | None = None
    hours: float | None = None
    given: tuple[str, ...] = ()
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)


@dataclass(frozen=True, kw_only=True)
class PipelineConfig(RunStep):
    """All settings of all steps; each takes its `part`."""

    space: Any = REQUIRED
    data: Any = REQUIRED
    runs: tuple[str, ...] = ()
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    threads: tuple[int, ...] = ()
    runtime: Any = ("onnxruntime", "litert")
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    measurements: int = 10
    seeds: int = 10
    onboard: OnboardConfig = field(default_factory=OnboardConfig)
    module: str | None = None
    verify: VerifyConfig = field(default_factory=VerifyConfig)
    checkpoint: str | None = None
    targets: str | None = None
    exported: str | None = None
    folder: str | None = None
    format: str | None = None
    path: str | None = None
    arch: Any = None
    table: str | None = None
    n: int = 50


def _check_name(name: str) -> None:
    if not name.strip("/. ") or ".." in name.split("/"):
        raise ConfigError(f"name: expected a name for the run, which becomes a folder, got {name!r}")


def _distinct(key: str, what: str) -> Callable[[tuple[str, ...]], None]:
    def check(names: tuple[str, ...]) -> None:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice or not all(names):
            got = f"{listed(twice)} twice" if twice else "an empty one"
            raise ConfigError(f"{key}: expected distinct {what}, got {got}")

    return check


def _check_threads(threads: tuple[int, ...]) -> None:
    if len(set(threads)) < len(threads) or any(count < 1 for count in threads):
        raise ConfigError(f"threads: expected distinct numbers of 1 or more, got {list(threads)}")


def _check_runtime(runtime: str | tuple[str, ...]) -> None:
    names = (runtime,) if isinstance(runtime, str) else runtime
    unknown = [name for name in names if name not in RUNTIMES]
    if unknown or not names:
        raise ConfigError(f"runtime: {unknown or 'none'} unknown: {choices((unknown or [''])[0], RUNTIMES)}")


def _at_least(key: str, least: int, what: str = "") -> Callable[[int], None]:
    def check(value: int) -> None:
        if value < least:
            expected = f"at least {least} {what}".rstrip() if least else "0 or more"
            raise ConfigError(f"{key}: expected {expected}, got {value}")

    return check


def _check_hours(hours: float | None) -> None:
    if hours is not None and not 0 < hours < math.inf:
        raise ConfigError(f"hours: expected a number above 0, such as 0.5 for half an hour, got {hours:g}")


_CHECKS: dict[str, Callable[[Any], None]] = {
    "hours": _check_hours,
    "name": _check_name,
    "seed": _at_least("seed", 0),
    "devices": _distinct("devices", "names of devices"),
    "runs": _distinct("runs", "folders of runs"),
    "threads": _check_threads,
    "n": _at_least("n", 2, "networks to validate a table on"),
    "measurements": _at_least("measurements", 1),
    "seeds": _at_least("seeds", 1),
    "runtime": _check_runtime,
}
"""The check of each setting, whichever step has it."""
