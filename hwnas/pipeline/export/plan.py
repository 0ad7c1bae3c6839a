"""Which files `hwnas export` is to write: networks times formats times precisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.devices.fleet import Unit
from hwnas.errors import ConfigError, DeviceError, choices
from hwnas.export.bundle.names import bundle_folder
from hwnas.export.formats import format_of_runtime, model_format
from hwnas.export.module.load import module_name
from hwnas.export.passes import require
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.inputs import chosen_networks
from hwnas.pipeline.search.result import ChosenNetwork, SearchedSupernet
from hwnas.pipeline.space import given_arch
from hwnas.pipeline.units import by_model, of_devices
from hwnas.runtimes import FILE_PRECISIONS

__all__ = ["PlannedFile", "Target", "check_formats", "plan_files", "planned_targets"]


@dataclass(frozen=True, eq=False)
class Target:
    """A network and what it is for. `arch` is None for a module of the user's own; `budget` where none was searched.

    `checkpoint`: its own weights, where it was fine-tuned. `supernet`: the one that it is of, where a search was of
    several.
    """

    id: str
    device: str
    runtimes: tuple[str, ...]
    precision: str
    threads: int
    budget: str | None
    name: str
    arch: dict[str, Any] | None
    predicted: dict[str, Any]
    checkpoint: Path | None = None
    supernet: SearchedSupernet | None = None


@dataclass(frozen=True)
class PlannedFile:
    """One file. `folder`: its bundle's, below the export's."""

    target: Target
    format: str
    precision: str
    folder: Path

    @property
    def key(self) -> str:
        """Names the file among those of one export, and is a file name."""
        return "-".join(self.folder.parts[1:])


def planned_targets(config: ExportStep, units: Sequence[Unit], folder: Path) -> tuple[list[Target], dict[str, Path]]:
    """The networks, and the files that say which: a search's, one given by arch, or a module of one's own.

    Where several devices are asked for, a search's of those. Raises ConfigError where several networks are given, or
    the search has none for a device, StorageError where the search's result is not there.
    """
    ways = {"module": config.module, "arch": config.arch, "targets": config.targets}
    if len(given := [key for key, value in ways.items() if value is not None]) > 1:
        raise ConfigError(f"{' and '.join(given)}: expected one of them, which says what is exported, got {len(given)}")
    threads, precision = config.profiling.threads, config.profiling.precision
    if config.module is not None or config.arch is not None:
        arch = None if config.arch is None else given_arch(config.arch)
        name = "arch" if config.module is None else module_name(config.module)
        return [
            Target(f"{device}-{name}", device, config.runtimes, precision, threads, None, name, arch, {})
            for device in by_model(units)
        ], {}
    path, chosen = chosen_networks(config.targets, config, folder, ChosenNetwork)
    asked = tuple(by_model(units))
    chosen = of_devices(chosen, asked, path) if len(asked) > 1 else chosen
    return [_searched(entry, precision, threads) for entry in chosen], {"targets": path}


def check_formats(units: Sequence[Unit], formats: Sequence[str]) -> None:
    """Raise DeviceError, naming the device, for one of several that does not run one of `formats`."""
    models = by_model(units)
    for name, own in models.items() if len(models) > 1 else ():
        runs = {format_of_runtime(runtime).name for runtime in own[0].profile.runtimes}
        if foreign := [one for one in formats if model_format(one).name not in runs]:
            raise DeviceError(
                f"formats: device {name} does not run {foreign[0]}: {choices(foreign[0], sorted(runs))}; leave formats"
                " out, for each device's own, or export for it alone"
            )


def plan_files(
    targets: Sequence[Target], formats: Sequence[str], precisions: Sequence[str]
) -> tuple[list[PlannedFile], list[str]]:
    """Each target in each of `formats` (default: those of its runtimes) and `precisions` (default: its own).

    The second is what was left out of the product because a format is not written in a precision. Raises ConfigError
    for an unknown format or precision, and for one of which nothing is left; MissingExtraError where a format's
    packages are not installed.
    """
    for kind, given in (("formats", formats), ("precisions", precisions)):
        if twice := [name for name, count in Counter(given).items() if count > 1]:
            raise ConfigError(f"{kind}: {', '.join(twice)} is given twice")
    for precision in precisions:
        if precision not in FILE_PRECISIONS:
            raise ConfigError(f"precisions: {precision!r} unknown; {choices(precision, FILE_PRECISIONS)}")
    wanted = {
        target: [
            (name, precision)
            for name in formats or [format_of_runtime(runtime).name for runtime in target.runtimes]
            for precision in precisions or [target.precision]
        ]
        for target in targets
    }
    pairs = dict.fromkeys(pair for pairs in wanted.values() for pair in pairs)
    written = {pair for pair in pairs if pair[1] in model_format(pair[0]).precisions}
    for place, names in enumerate(zip(*pairs, strict=True)):
        for name in dict.fromkeys(names):
            if not any(pair[place] == name for pair in written):
                raise ConfigError(_nothing_left(pairs, place, name))
    for name in dict.fromkeys(name for name, _ in written):
        require(("torch",), "train", "exporting")
        require(model_format(name).packages, model_format(name).extra, f"exporting to {name}")
    left_out = [f"{name} {precision}" for name, precision in pairs if (name, precision) not in written]
    return _placed({target: [pair for pair in pairs if pair in written] for target, pairs in wanted.items()}), left_out


def _placed(wanted: Mapping[Target, Sequence[tuple[str, str]]]) -> list[PlannedFile]:
    # Two runtimes' targets of one device and budget are two networks: in equal formats, their folders say whose.
    count = Counter(
        bundle_folder(target.device, target.name, *pair) for target, pairs in wanted.items() for pair in pairs
    )
    planned = []
    for target, pairs in wanted.items():
        shared = any(count[bundle_folder(target.device, target.name, *pair)] > 1 for pair in pairs)
        name = f"{'-'.join(target.runtimes)}-{target.name}" if shared else target.name
        planned += [PlannedFile(target, *pair, bundle_folder(target.device, name, *pair)) for pair in pairs]
    if len({file.folder for file in planned}) < len(planned):
        raise ConfigError("targets: expected one network for each device, runtime and budget, got several")
    return planned


def _searched(entry: ChosenNetwork, precision: str, threads: int) -> Target:
    # Published tables say neither.
    return Target(
        id=entry.id,
        device=entry.device,
        runtimes=(entry.runtime,),
        precision=entry.precision or precision,
        threads=entry.threads or threads,
        budget=entry.budget,
        name=entry.budget,
        arch=entry.arch,
        predicted=entry.predicted,
        checkpoint=Path(entry.checkpoint) if entry.checkpoint else None,
        supernet=entry.supernet,
    )


def _nothing_left(pairs: Mapping[tuple[str, str], None], place: int, name: str) -> str:
    if place == 0:
        asked = ", ".join(precision for format_name, precision in pairs if format_name == name)
        return f"precisions: {name} is not written in {asked}; {choices(asked, model_format(name).precisions)}"
    formats = ", ".join(format_name for format_name, precision in pairs if precision == name)
    return f"precisions: none of {formats} is written in {name!r}"
