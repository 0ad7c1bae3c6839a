"""The latency of a search's exported files on their own devices, beside the reference networks of their tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.connect import connect
from hwnas.devices.fleet import Unit
from hwnas.errors import DeviceError, StorageError
from hwnas.latency.tables.table import read_table
from hwnas.pipeline.config import ValidateStep
from hwnas.pipeline.inputs import table_files, tables_of
from hwnas.pipeline.on_units import Order, ask_units, told_of
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.units import by_model, called, left_out_units, of_devices, own_folder, trusted
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import Progress, Reporter
from hwnas.spaces import Space

if TYPE_CHECKING:
    from hwnas.profiling.validate import MeasuredNetwork

__all__ = ["DeviceFile", "Devices", "latencies_on_devices", "of_asked_devices"]

_WORK = "measuring"


@dataclass(frozen=True)
class DeviceFile:
    """A network's file, and its inputs as `hwnas.export.signature.fed_shape` has them."""

    path: Path
    shape: tuple[Any, ...]


@dataclass(frozen=True)
class Devices:
    """The devices of a validation, their units by the model's name, and their tables in the folder `profiled`."""

    units: dict[str, tuple[Unit, ...]]
    tables: dict[tuple[str, str], Path]
    profiled: Path

    @classmethod
    def of(cls, config: ValidateStep, units: Sequence[Unit], profiled: Path) -> Devices:
        """Those that are asked for, with the tables of all runtimes, whether they exist or not."""
        models = by_model(units)
        tables = {
            (name, runtime): path
            for name in models
            for runtime, path in tables_of(config, name, profiled).items()
        }  # fmt: skip
        return cls(models, tables, profiled)

    @property
    def files(self) -> dict[str, Path]:
        """The tables' files by role, in which a device is named where there are several."""
        return {
            f"{runtime if len(self.units) == 1 else f'{device} {runtime}'} {role}": file
            for (device, runtime), path in self.tables.items()
            for role, file in table_files(path).items()
        }


def of_asked_devices(
    selected: Sequence[SearchEntry], units: Sequence[Unit], chosen: Path, say: Callable[[str], None]
) -> list[SearchEntry]:
    """Those of a search's networks that are for the devices; what is left out is said.

    Raises ConfigError where there is none for one of several devices.
    """
    asked = tuple(by_model(units))
    others = list(dict.fromkeys(one.device for one in selected if one.device not in asked))
    if len(asked) == len(others) == 1 and all(one.device == others[0] for one in selected):
        return list(selected)  # of a table by another name
    if others and len(others) < len({one.device for one in selected}):
        say(f"validate: networks for {', '.join(others)} are left out: give device=[{','.join([*asked, *others])}]")
    return of_devices(selected, asked, chosen)


def latencies_on_devices(
    config: ValidateStep,
    space: Space,
    devices: Devices,
    selected: Sequence[SearchEntry],
    files: Mapping[str, DeviceFile],
    folder: Path,
    reporter: Reporter,
) -> dict[str, tuple[MeasuredNetwork, str | None]]:
    """Each target's latency by its id, and the unit that measured it where its device has several.

    One runtime after another; several devices at once, by the executor's workers. Of a model with several units the
    first is asked that was not left out of its tables, and the next one where that fails. Raises DeviceError, naming
    the device, where none answers or a file is rejected.
    """
    left_out = left_out_units(devices.profiled)
    several = len(devices.units) > 1
    found: dict[str, tuple[MeasuredNetwork, str | None]] = {}
    for runtime in config.runtimes:
        settings = replace(config.profiling, runtime=runtime)
        asked: dict[str, Order[dict[str, MeasuredNetwork]]] = {}
        for device, own in devices.units.items():
            of_device = [one for one in selected if not several or one.device == device]
            if mine := {one.id: files[one.id] for one in of_device if one.runtime == runtime}:
                place = folder / _WORK / device if several or len(own) > 1 else folder
                units = trusted(own, left_out)
                work = partial(
                    _measured, mine, devices.tables[device, runtime], space, settings, own_folder(place, own),
                    config.seed,
                )  # fmt: skip
                asked[device] = Order(units, work)
        if not asked:
            continue
        count = sum(one.runtime == runtime for one in selected)
        where = ", ".join(called(order.units[0], devices.units[device]) for device, order in asked.items())
        with reporter.step(f"validate: latency of {count} files on {where}, {settings.setting}") as progress:
            answers = ask_units("validate", list(asked.values()), config.executor, reporter.say, progress)
        for device, answer in zip(asked, answers, strict=True):
            if several and isinstance(answer.problem, (DeviceError, StorageError)):
                raise DeviceError(told_of(answer.unit, answer.problem)) from answer.problem
            by = answer.unit.name if len(devices.units[device]) > 1 else None
            found |= {name: (one, by) for name, one in answer.settled().items()}
    shutil.rmtree(folder / _WORK, ignore_errors=True)
    return found


def _measured(
    files: Mapping[str, DeviceFile],
    table: Path,
    space: Space,
    settings: ProfilingConfig,
    folder_of: Callable[[Unit], Path],
    seed: int,
    unit: Unit,
    progress: Progress,
) -> dict[str, MeasuredNetwork]:
    from hwnas.profiling.validate import measure_networks

    models = {name: file.path for name, file in files.items()}
    shapes = {name: file.shape for name, file in files.items()}
    with connect(unit.profile, unit.device) as transport:
        return measure_networks(
            models, read_table(table), space, transport, settings, folder_of(unit), seed, progress, shapes
        )
