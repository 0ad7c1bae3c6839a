"""Several devices at once: which units there are, of which model, how each is reached, and where it hangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hwnas.devices.config import DeviceConfig
from hwnas.devices.profile import DeviceProfile, load_profile
from hwnas.devices.profile_file import read_profile
from hwnas.errors import ConfigError, DeviceError, choices

__all__ = ["FleetConfig", "Unit", "check_units", "read_fleet"]

_OF_ONE_UNIT = ("name", "transport", "address")
_KEYS = ("device", *(one.name for one in fields(DeviceConfig) if one.name != "name"), "host")


@dataclass(frozen=True)
class FleetConfig:
    """`file`: a YAML list of units, each with its `device` (a profile), what else `DeviceConfig` has, and its `host`.

    Units of one model share the work of one table. One that measures common networks further than `tolerance`, a
    fraction, from the others is left out.
    """

    file: str | None = None
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ConfigError(f"fleet.tolerance: expected a fraction above 0, such as 0.1, got {self.tolerance}")


@dataclass(frozen=True)
class Unit:
    """One device: `device` says of which model it is and how it is reached. `host`: the resource of the Ray node that
    it hangs on, None where any can reach it.
    """

    device: DeviceConfig
    profile: DeviceProfile
    host: str | None = None

    @property
    def transport(self) -> str:
        """How it is reached."""
        return self.device.transport or self.profile.transport

    @property
    def address(self) -> str | None:
        """Where it is reached, as its transport has it."""
        return self.device.address or self.profile.address

    @property
    def name(self) -> str:
        """Such as `raspberry_pi_5 at pi@10.0.0.11`."""
        return f"{self.profile.name} at {self.address or self.host or self.transport}"


def read_fleet(path: Path | str, defaults: DeviceConfig) -> tuple[Unit, ...]:
    """The units in a file; of what an entry does not say, but for which device it is and its address, `defaults`.

    Raises DeviceError, naming file and entry, for what is not valid, and for a device that stands there twice.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DeviceError(f"fleet={path}: no such file: expected a YAML list of units, each such as - device: local")
    entries = read_profile(path, ("silence_s",))
    if not isinstance(entries, list) or not entries:
        raise DeviceError(f"{path}: expected a list of units, each such as - device: local, got {_kind(entries)}")
    units = tuple(_unit(f"{path}: unit {number}", entry, defaults) for number, entry in enumerate(entries, 1))
    check_units(units, str(path))
    return units


def check_units(units: Sequence[Unit], where: str) -> None:
    """Raises DeviceError where two of `units` are one device, which would be measured by two processes at once, or are
    of two models by one name, which would share a table.

    Devices that a TVM tracker hands out share an address. Of one without the address that it needs, `connect` says so.
    """
    models: dict[str, DeviceProfile] = {}
    for unit in units:
        model = replace(unit.profile, address=None)
        if models.setdefault(model.name, model) != model:
            raise DeviceError(f"{where}: two profiles that differ are called {model.name}: give one another file name")
    seen: dict[tuple[str | None, ...], int] = {}
    for number, unit in enumerate(units, 1):
        if unit.transport == "tvm_rpc" and "/" in (unit.address or ""):
            continue
        if unit.transport in ("ssh", "tvm_rpc") and unit.address is None:
            continue
        first = seen.setdefault(_place(unit), number)
        if first != number:
            what = unit.address or ("this machine" if unit.transport == "local" else "the one that is attached")
            raise DeviceError(
                f"{where}: units {first} and {number} are one device ({unit.transport}, {what}): leave one out, or give"
                " each its own address"
            )


def _place(unit: Unit) -> tuple[str | None, ...]:
    if unit.transport == "ssh" and unit.address is not None:
        from hwnas.devices.ssh import parse_address

        _, host, port = parse_address(unit.address)
        return "ssh", host.lower(), str(port or 22)
    return unit.transport, unit.address, unit.host if unit.transport == "local" else None


def _unit(where: str, entry: Any, defaults: DeviceConfig) -> Unit:
    if not isinstance(entry, dict):
        raise DeviceError(f"{where} is {entry!r}: expected keys and values, such as device: raspberry_pi_5")
    for key in entry:
        if key not in _KEYS:
            raise DeviceError(f"{where}: unknown key {key!r}: {choices(str(key), _KEYS)}")
    for key, value in entry.items():
        if value is not None and not isinstance(value, float if key == "silence_s" else str):
            if key == "silence_s" and isinstance(value, int):
                continue
            raise DeviceError(f"{where}: {key} is {value!r}, expected {'a number' if key == 'silence_s' else 'text'}")
    if not entry.get("device"):
        raise DeviceError(f"{where}: device is missing: the name of a profile (hwnas devices), or a .yaml file's path")
    own = {key: value for key, value in entry.items() if key not in ("device", "host") and value is not None}
    shared = replace(defaults, **{key: getattr(DeviceConfig(), key) for key in _OF_ONE_UNIT})
    try:
        device = replace(shared, name=entry["device"], **own)
        return Unit(device, load_profile(device.name), entry.get("host"))
    except (ConfigError, DeviceError) as error:
        raise DeviceError(f"{where}: {error}") from error


def _kind(value: Any) -> str:
    return "an empty one" if value == [] else type(value).__name__
