"""Everything that can be configured, in one tree that all steps share; each uses its part of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hwnas.accuracy.config import PredictorConfig
from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.config import DataConfig, DigitsConfig, FashionMnistConfig, ImageFolderConfig
from hwnas.devices.config import DeviceConfig
from hwnas.errors import ConfigError, choices
from hwnas.export.config import ExportConfig, VerifyConfig
from hwnas.latency.config import OnboardConfig, ProtocolConfig
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.profiling.config import ProfilingConfig
from hwnas.runtimes import RUNTIMES
from hwnas.search.config import SearchConfig
from hwnas.spaces import SpaceConfig
from hwnas.training.config import FinetuneConfig, TrainingConfig

__all__ = [
    "AccuracyConfig",
    "EvaluationConfig",
    "LatencyConfig",
    "PipelineConfig",
]

REQUIRED = "???"
"""A value that has to be given, as Hydra writes it."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Which subnets teach the accuracy predictor: `subnets` random ones, beside the largest and the smallest."""

    subnets: int = 250
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self) -> None:
        if self.subnets < 20:
            raise ConfigError(f"evaluation.subnets: expected at least 20 to learn from, got {self.subnets}")


ACCURACY_FORMATS = ("learned", "ofa")
LATENCY_FORMATS = ("hwnas", "ofa", "roofline", "fewshot")
LATENCY_BASELINES = ("help", "macs", "parameters", "forest", "nearest_device")
PATHLESS_FORMATS = ("learned", "hwnas", "roofline")


@dataclass(frozen=True)
class AccuracyConfig:
    """Where the search's accuracies come from. `learned`: the predictor that `hwnas evaluate` wrote (path None: beside
    it); `ofa`: the published network's `accuracy_predictor.npz`.
    """

    format: str = "learned"
    path: str | None = None

    def __post_init__(self) -> None:
        _check_source("accuracy", self.format, ACCURACY_FORMATS, self.path)


@dataclass(frozen=True)
class LatencyConfig:
    """Where the search's latencies come from. `hwnas`: the folder of tables that `hwnas profile` wrote (path None:
    beside it); `ofa`: a folder of tables that once-for-all published, one file a resolution; `roofline`: a rough
    estimate from the public facts in the device's profile, no measurement; `fewshot`: the predictor that `hwnas
    onboard` wrote. `hwnas evaluate-latency` scores `fewshot`, `help` and baselines, and needs no path.
    """

    format: str = "hwnas"
    path: str | None = None

    def __post_init__(self) -> None:
        valid = (*LATENCY_FORMATS, *LATENCY_BASELINES)
        if self.format not in valid:
            raise ConfigError(f"latency.format: {self.format!r} unknown; {choices(self.format, valid)}")
        if self.format == "ofa":
            _check_source("latency", self.format, LATENCY_FORMATS, self.path)


def _check_source(key: str, given: str, formats: tuple[str, ...], path: str | None) -> None:
    if given not in formats:
        raise ConfigError(f"{key}.format: {given!r} unknown; {choices(given, formats)}")
    if given not in PATHLESS_FORMATS and not path:
        raise ConfigError(f"{key}.format={given}: where are the published files? give {key}.path=PATH")


@dataclass(frozen=True)
class PipelineConfig:
    """All settings. Paths that are None are looked for where the step before writes, beside the run directory."""

    name: str = "quickstart"
    seed: int = 0
    space: Any = REQUIRED
    data: Any = REQUIRED
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    accuracy: AccuracyConfig = field(default_factory=AccuracyConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    devices: tuple[str, ...] = ()
    runtime: Any = ("onnxruntime", "litert")
    profiling: ProfilingConfig = field(default_factory=ProfilingConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    measurements: int = 10
    seeds: int = 10
    onboard: OnboardConfig = field(default_factory=OnboardConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    export: ExportConfig = field(default_factory=ExportConfig)
    formats: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
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

    def __post_init__(self) -> None:
        if not self.name.strip("/. ") or ".." in self.name.split("/"):
            raise ConfigError(f"name: expected a name for the run, which becomes a folder, got {self.name!r}")
        if self.seed < 0:
            raise ConfigError(f"seed: expected 0 or more, got {self.seed}")
        if len(set(self.devices)) < len(self.devices) or not all(self.devices):
            raise ConfigError(f"devices: expected distinct names of devices, got {list(self.devices)}")
        if self.n < 2:
            raise ConfigError(f"n: expected at least 2 networks to validate a table on, got {self.n}")
        for key in ("measurements", "seeds"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key}: expected at least 1, got {getattr(self, key)}")
        unknown = [name for name in self.runtimes if name not in RUNTIMES]
        if unknown or not self.runtimes:
            raise ConfigError(f"runtime: {unknown or 'none'} unknown: {choices((unknown or [''])[0], RUNTIMES)}")

    @property
    def runtimes(self) -> tuple[str, ...]:
        """`runtime` may be one name or a list of them."""
        return (self.runtime,) if isinstance(self.runtime, str) else tuple(self.runtime)

    @property
    def latency_data(self) -> LatencyDataConfig:
        """`data` where it is a table of latencies, not of images."""
        if not isinstance(self.data, LatencyDataConfig):
            raise ConfigError("data: expected data=nasbench201, data=ofa or data=csv, a table of latencies")
        return self.data

    @property
    def data_config(self) -> DataConfig:
        """`data` with its type: which class it is was chosen by `data=…`."""
        if not isinstance(self.data, (FashionMnistConfig, ImageFolderConfig, DigitsConfig)):
            raise ConfigError("data: expected data=fashion_mnist, data=image_folder, data=imagenet or data=digits")
        return self.data

    @property
    def space_config(self) -> SpaceConfig:
        """`space` with its type: which family it is was chosen by `space=…`."""
        if not isinstance(self.space, SpaceConfig):
            raise ConfigError("space: expected a space of conf/space, such as space=ofa_mbv3")
        return self.space
