"""Which devices a step is of: one, several, or the units of a fleet, of which several may be of one model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hwnas.devices.config import DeviceConfig
from hwnas.devices.fleet import Unit, check_units, read_fleet
from hwnas.devices.profile import is_profile_file, load_profile, profile_name, profile_path
from hwnas.errors import ConfigError, choices
from hwnas.files import sha256_of_file
from hwnas.pipeline.config import DevicesStep
from hwnas.pipeline.search.result import ChosenNetwork
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import read_or_none

__all__ = [
    "asked_models",
    "by_model",
    "called",
    "device_inputs",
    "left_out_units",
    "names_of",
    "of_devices",
    "own_folder",
    "trusted",
    "units_inputs",
    "units_named",
    "units_of",
]

N = TypeVar("N", bound=ChosenNetwork)


def units_of(config: DevicesStep) -> tuple[Unit, ...]:
    """The devices that are asked for.

    Raises DeviceError for an unknown one and for one that is there twice, ConfigError where it is said in two ways
    which there are, or for an address that is of none of several.
    """
    if config.fleet.file is not None:
        if config.devices:
            raise ConfigError("fleet and devices: give one of them: a fleet's file says which devices there are")
        return read_fleet(config.fleet.file, config.device)
    names = config.devices or (config.device.name,)
    if len(names) > 1 and (config.device.address or config.device.transport):
        raise ConfigError(
            "device.address, device.transport: of which of several devices? give fleet=FILE, which says how each is"
            " reached (docs/scale.md), or a profile of your own to each"
        )
    units = tuple(Unit(replace(config.device, name=name), load_profile(name)) for name in names)
    check_units(units, "devices")
    return units


def by_model(units: Sequence[Unit]) -> dict[str, tuple[Unit, ...]]:
    """The units of each model, by its name, in their order."""
    names = dict.fromkeys(unit.profile.name for unit in units)
    return {name: tuple(unit for unit in units if unit.profile.name == name) for name in names}


def asked_models(config: DevicesStep) -> tuple[str, ...]:
    """The names of `devices`, or of a fleet's models, as their tables' folders have them; none where neither is given.

    Devices that are only searched for need no profile. Raises as `units_of` for a fleet.
    """
    if config.fleet.file is not None:
        return tuple(by_model(units_of(config)))
    return tuple(map(profile_name, config.devices))


def units_named(units: Sequence[Unit], name: str) -> tuple[Unit, ...]:
    """Those of `units` that are of the model `name`; where none is, the one that the profile of that name reaches.

    Raises DeviceError where there is no such profile.
    """
    return by_model(units).get(name) or (Unit(DeviceConfig(name=name), load_profile(name)),)


def names_of(units: Sequence[Unit]) -> str:
    """For a title: the models, with how many units there are of those that have several."""
    return ", ".join(f"{len(own)} × {name}" if len(own) > 1 else name for name, own in by_model(units).items())


def of_devices(chosen: Sequence[N], devices: Sequence[str], path: Path) -> list[N]:
    """Those of the networks `chosen`, which are in `path`, that are for `devices`.

    Raises ConfigError for a device that none is for.
    """
    known = list(dict.fromkeys(one.device for one in chosen))
    if missing := [name for name in devices if name not in known]:
        raise ConfigError(
            f"devices: no network in {path} was chosen for {missing[0]}: {choices(missing[0], known)}; or run hwnas"
            " search with all devices first"
        )
    return [one for one in chosen if one.device in devices]


def called(unit: Unit, of_model: Sequence[Unit]) -> str:
    """A unit's name; the model's where it is the only one of that."""
    return unit.name if len(of_model) > 1 else unit.profile.name


def own_folder(folder: Path, units: Sequence[Unit]) -> Callable[[Unit], Path]:
    """Where each of a model's units keeps what it measures: `folder`, or one of its own there. Picklable."""
    return partial(_in, folder) if len(units) > 1 else partial(_itself, folder)


def _in(folder: Path, unit: Unit) -> Path:
    return folder / re.sub(r"[^A-Za-z0-9.-]+", "-", unit.name)


def _itself(folder: Path, unit: Unit) -> Path:  # noqa: ARG001
    return folder


def left_out_units(profiled: Path) -> frozenset[str]:
    """The names of the units that were left out of a table of the folder that `hwnas profile` wrote."""
    document = read_or_none(profiled / "result.json")
    result = document.get("result") if isinstance(document, Mapping) else None
    tables = result.get("tables") if isinstance(result, Mapping) else None
    found = [unit for table in tables or () for unit in table.get("units") or ()]
    return frozenset(unit["unit"] for unit in found if unit["left_out"])


def trusted(units: Sequence[Unit], left_out: frozenset[str]) -> tuple[Unit, ...]:
    """Those that measured what the tables say; all of them where none did."""
    return tuple(unit for unit in units if unit.name not in left_out) or tuple(units)


def device_inputs(config: DeviceConfig) -> dict[str, Any]:
    """What a step's inputs say of the device: how it is reached; of a profile of the user's own what it says."""
    values: dict[str, Any] = to_plain(config)
    if is_profile_file(config.name):
        values |= {"name": profile_name(config.name), "profile": sha256_of_file(profile_path(config.name))}
    return values


def units_inputs(units: Sequence[Unit]) -> dict[str, Any]:
    """What a step's inputs say of its devices: of the first, and of all where there are several."""
    inputs: dict[str, Any] = {"device": device_inputs(units[0].device)}
    return inputs if len(units) == 1 else {**inputs, "units": [device_inputs(unit.device) for unit in units]}
