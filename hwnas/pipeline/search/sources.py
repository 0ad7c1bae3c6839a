"""Where a search's two objectives come from: the accuracy predictor, and a latency estimator for each target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from hwnas.accuracy.predictor import AccuracyEstimate, AccuracyPredictor
from hwnas.accuracy.published import PublishedPredictor
from hwnas.devices.config import DeviceConfig
from hwnas.devices.profile import load_profile, profile_name, profile_path
from hwnas.errors import ConfigError, StorageError, choices, listed
from hwnas.latency.estimate import LatencyEstimator, require_coverage
from hwnas.latency.fewshot.predictor_file import load_predictor_file
from hwnas.latency.roofline import RooflineEstimator
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.ofa_table import OfaTableEstimator, ofa_files
from hwnas.latency.tables.published_files import device_folder
from hwnas.latency.tables.table import read_table
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.estimates import LATENCY_BASELINES, LATENCY_FORMATS
from hwnas.pipeline.inputs import input_path, table_files, tables_of
from hwnas.pipeline.units import asked_models
from hwnas.search.methods.guided import Slopes, network_slopes
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = [
    "Predictor",
    "Setting",
    "Target",
    "Targets",
    "accuracy_file",
    "latency_targets",
    "load_predictor",
    "slopes_of",
]

PREDICTOR = "predictor.safetensors"
_MOST_HELD = 64


class Predictor(Protocol):
    """What a search asks of an accuracy predictor."""

    def predict(self, genotypes: Genotypes) -> AccuracyEstimate:
        """Mean and, where there is one, standard deviation."""
        ...

    def mean(self, genotypes: Genotypes) -> Floats:
        """The mean alone, `[N]`."""
        ...


@dataclass(frozen=True)
class Setting:
    """A device setting that is searched for. What published tables don't say is None."""

    device: str
    runtime: str
    precision: str | None
    threads: int | None

    @property
    def name(self) -> str:
        """Device and runtime, and the precision where it is none of fp32's."""
        kind = "" if self.precision in (None, "fp32") else f"-{self.precision}"
        return f"{self.device}-{self.runtime}{kind}"

    @property
    def is_int8(self) -> bool:
        """Whether its latencies are of int8 files."""
        return self.precision == "int8"


@dataclass(frozen=True)
class Target(Setting):
    """A setting with what tells its latency."""

    estimator: LatencyEstimator

    @property
    def setting(self) -> Setting:
        """What it is, without the estimator."""
        return Setting(self.device, self.runtime, self.precision, self.threads)


@dataclass(frozen=True)
class TargetSource:
    """Files of one target by role, and how to open it once the step is known to be needed."""

    name: str
    files: dict[str, Path]
    open: Callable[[], Target]


class Targets:
    """All targets of a search by number. Opened when they are asked for, and only so many held: a thousand predictors
    would fill the memory.
    """

    def __init__(self, sources: Sequence[TargetSource], settings: Sequence[Setting] | None = None) -> None:
        """`settings` of the sources, where they are known: else each is opened once, and raises what is wrong with it.

        Raises ConfigError where two have one name.
        """
        self._held = lru_cache(_MOST_HELD)(lambda number: sources[number].open())
        self.settings = tuple(settings or (self.open(number).setting for number in range(len(sources))))
        names = Counter(setting.name for setting in self.settings)
        if twice := sorted(name for name, count in names.items() if count > 1):
            raise ConfigError(
                f"latency: several tables of {listed(twice)}: give devices=[…] and runtime=… for one each"
            )

    def open(self, number: int) -> Target:
        """The target, covered by its tables (else CoverageError)."""
        return self._held(number)

    def by_device(self) -> list[tuple[int, ...]]:
        """The numbers of each device's targets, in the order of its first."""
        found: dict[str, list[int]] = {}
        for number, setting in enumerate(self.settings):
            found.setdefault(setting.device, []).append(number)
        return list(map(tuple, found.values()))


def accuracy_file(config: SearchStep, folder: Path) -> Path:
    """The predictor's file. Raises StorageError, naming the setting, where it is not there."""
    return input_path(config.accuracy.path, folder, "evaluate", "predictor.safetensors", "accuracy.path")


def load_predictor(config: SearchStep, path: Path, space: Space) -> Predictor:
    """The predictor of `accuracy.format`."""
    if config.accuracy.format == "ofa":
        return PublishedPredictor.load(path, space)
    return AccuracyPredictor.load(path, space)


def slopes_of(predictor: Predictor, space: Space) -> Slopes | None:
    """The slopes that guide a search, for predictors that have them."""
    if not isinstance(predictor, PublishedPredictor):
        return None
    network = predictor.network
    return network_slopes(space, network.encode, network.encoding.conditions, network.layers)


def latency_targets(config: SearchStep, folder: Path, space: Space) -> list[TargetSource]:
    """The targets that `latency` names, each covered by its tables when opened (else CoverageError)."""
    if config.latency.format in LATENCY_BASELINES:
        raise ConfigError(
            f"latency={config.latency.format}: searching takes {choices(config.latency.format, LATENCY_FORMATS)};"
            " hwnas evaluate-latency scores the others"
        )
    if config.latency.format == "roofline":
        profile = profile_path(config.device.name)
        return [TargetSource("a roofline estimate", {"device profile": profile}, lambda: _open_roofline(config, space))]
    if config.latency.format == "fewshot":
        given = input_path(config.latency.path, folder, "onboard", PREDICTOR, "latency.path")
        return [
            TargetSource(name, {f"{name} latency predictor".strip(): path}, partial(_open_predictor, path, space))
            for name, path in _predictors(config, given).items()
        ]
    given = input_path(config.latency.path, folder, "profile", "", "latency.path")
    if config.latency.format == "ofa":
        return _published_targets(config, given, space)
    return [
        TargetSource(
            name,
            {f"{name} {role}": file for role, file in table_files(path).items()},
            partial(_open_table, path, space),
        )
        for name, path in _tables(config, given).items()
    ]


def _predictors(config: SearchStep, given: Path) -> dict[str, Path]:
    """Device to its predictor: `given` itself, or in a folder those of the devices, or of all that have one there."""
    asked = asked_models(config)
    if not given.is_dir():
        if asked:
            raise StorageError(
                f"latency.path: expected a folder with DEVICE/{PREDICTOR} of each for devices=…, got {given}"
            )
        return {"": given}
    devices = asked or sorted(path.parent.name for path in given.glob(f"*/{PREDICTOR}"))
    if not devices:
        raise StorageError(f"no DEVICE/{PREDICTOR} in {given}: run hwnas onboard hydra.run.dir={given}/DEVICE first")
    return {device: given / device / PREDICTOR for device in devices}


def _published_targets(config: SearchStep, given: Path, space: Space) -> list[TargetSource]:
    """Once-for-all's files: of one device in `given`, or of each of the devices in its folder there."""
    asked = asked_models(config)
    if asked and not given.is_dir():
        raise StorageError(f"latency.path: expected a folder of published tables for devices=…, got {given}")
    sources = []
    for device in asked or ("",):
        folder = device_folder(given, device) if device else given
        role = f"{device}: latency table" if device else "latency table"
        files = {f"{role} at {resolution}": path for resolution, path in ofa_files(folder, space).items()}
        opened = partial(_open_published, folder, space, device)
        sources.append(TargetSource(device or "published tables", files, opened))
    return sources


def _tables(config: SearchStep, given: Path) -> dict[str, Path]:
    """Target name to the table that it has in `given`, whether that exists or not.

    `given` may be one table itself. In a folder, those of the devices that are asked for and `runtime`; where a device
    has none for any `runtime`, such as an imported one, all that it has. A folder that knows nothing of the default
    device gives all its tables.
    """
    if given.is_file():
        return {given.stem: given}
    asked = asked_models(config)
    devices = asked or (profile_name(config.device.name),)
    if not asked and config.device.name == DeviceConfig().name and not (given / config.device.name).exists():
        devices = tuple(sorted({path.parent.name for path in _tables_in(given, "*")})) or devices
    found: dict[str, Path] = {}
    for device in devices:
        own = tables_of(config, device, given)
        present = _tables_in(given, device)
        if present and not any(path.exists() for path in own.values()):
            own = {path.stem: path for path in present}
        found |= {name if len(devices) == 1 else f"{device} {name}": path for name, path in own.items()}
    return found


def _tables_in(folder: Path, device: str) -> list[Path]:
    return [path for path in sorted(folder.glob(f"{device}/*.csv")) if not path.stem.endswith(".networks")]


def _open_predictor(path: Path, space: Space) -> Target:
    estimator, facts = load_predictor_file(path, space)
    return Target(facts["device"], facts["runtime"], facts["precision"], facts["threads"], estimator)


def _open_roofline(config: SearchStep, space: Space) -> Target:
    estimator = RooflineEstimator(load_profile(config.device.name), space, config.profiling.threads)
    return Target(estimator.device, "roofline-estimate", "fp32", config.profiling.threads, estimator)


def _open_published(folder: Path, space: Space, device: str) -> Target:
    """`device`: as asked for; '' takes the one that the files name, or else the folder's name."""
    estimator = OfaTableEstimator(folder, space)
    require_coverage(estimator.missing)
    name = device or estimator.device or (folder if folder.is_dir() else folder.parent).resolve().name
    return Target(name, "published", None, None, estimator)


def _open_table(path: Path, space: Space) -> Target:
    table = read_table(path)
    estimator = TableEstimator(table, space)
    require_coverage(estimator.missing)
    facts = table.provenance
    return Target(facts["device"], facts["runtime"], facts["precision"], facts["threads"], estimator)
