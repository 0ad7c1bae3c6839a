"""Device profiles: what is publicly known of a device, and how to reach it. One YAML file a device."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import DeviceError, choices
from hwnas.files import packaged

__all__ = ["PRECISIONS", "RUNTIMES", "TRANSPORTS", "DeviceProfile", "load_profile", "profile_names"]

TRANSPORTS = ("local",)
RUNTIMES = ("onnxruntime", "litert")
PRECISIONS = ("fp32",)


@dataclass(frozen=True)
class DeviceProfile:
    """The facts about one device.

    `runtimes`: runtime to the precisions that it runs there. `peak_gmacs`: 10⁹ multiply-accumulates a second of one
    core in fp32; `bandwidth_gib_s`: memory bandwidth. Facts that nobody has published are None, never guessed;
    `sources` says where the others are from. `max_file_mib`: the largest model file that the device takes.
    """

    name: str
    description: str
    transport: str
    runtimes: dict[str, tuple[str, ...]]
    soc: str | None = None
    cores: int | None = None
    memory_mib: int | None = None
    peak_gmacs: float | None = None
    bandwidth_gib_s: float | None = None
    max_file_mib: float | None = None
    sources: tuple[str, ...] = field(default=())

    def check_runtime(self, runtime: str, precision: str) -> None:
        """Raises DeviceError where the device does not run `runtime` in `precision`."""
        if runtime not in self.runtimes:
            raise DeviceError(f"device {self.name} does not run {runtime!r}: {choices(runtime, self.runtimes)}")
        if precision not in self.runtimes[runtime]:
            valid = choices(precision, self.runtimes[runtime])
            raise DeviceError(f"device {self.name} does not run {runtime} in {precision!r}: {valid}")


def profile_names() -> list[str]:
    """The names of the shipped profiles, sorted."""
    return sorted(path.stem for path in packaged("device_profiles").glob("*.yaml"))


def load_profile(name: str) -> DeviceProfile:
    """The profile with this name among the shipped ones, or in the file that `name` is the path of.

    Raises DeviceError for an unknown name, and naming file and key for a file that is not a valid profile.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else packaged("device_profiles") / f"{name}.yaml"
    if not path.is_file():
        raise DeviceError(f"no device profile {name!r}: {choices(name, profile_names())}; or give a .yaml file's path")
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeviceError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from error
    return _validated(path, content)


_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "transport": (str,),
    "runtimes": (dict,),
    "soc": (str,),
    "cores": (int,),
    "memory_mib": (int,),
    "peak_gmacs": (int, float),
    "bandwidth_gib_s": (int, float),
    "max_file_mib": (int, float),
    "sources": (list,),
}


def _validated(path: Path, content: Any) -> DeviceProfile:
    if not isinstance(content, dict):
        raise DeviceError(f"{path}: expected keys and values, got {type(content).__name__}")
    known = {entry.name for entry in fields(DeviceProfile)}
    needed = {entry.name for entry in fields(DeviceProfile) if entry.default is MISSING}
    for key in content:
        if key not in known:
            raise DeviceError(f"{path}: unknown key {key!r}: {choices(key, sorted(known))}")
    if missing := sorted(key for key in needed if content.get(key) is None):
        raise DeviceError(f"{path}: missing {', '.join(missing)}")
    for key, value in content.items():
        if value is None and key not in needed:
            continue
        types = _TYPES[key]
        if not isinstance(value, types) or isinstance(value, bool):
            expected = " or ".join(kind.__name__ for kind in types)
            raise DeviceError(f"{path}: {key} is {value!r}, expected {expected}")
        if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0):
            raise DeviceError(f"{path}: {key} is {value!r}, expected a positive number")
    if content["name"] != path.stem:
        raise DeviceError(f"{path}: name is {content['name']!r}, expected the file's: {path.stem!r}")
    if content["transport"] not in TRANSPORTS:
        valid = choices(content["transport"], TRANSPORTS)
        raise DeviceError(f"{path}: transport is {content['transport']!r}: {valid}")
    runtimes = {runtime: _precisions(path, runtime, value) for runtime, value in content["runtimes"].items()}
    values = {**content, "runtimes": runtimes, "sources": tuple(str(line) for line in content.get("sources") or ())}
    return DeviceProfile(**values)


def _precisions(path: Path, runtime: object, value: object) -> tuple[str, ...]:
    if runtime not in RUNTIMES:
        raise DeviceError(f"{path}: runtimes has {runtime!r}: {choices(runtime, RUNTIMES)}")
    if not isinstance(value, list) or not value:
        raise DeviceError(f"{path}: runtimes.{runtime} is {value!r}, expected a list of precisions such as [fp32]")
    for precision in value:
        if precision not in PRECISIONS:
            raise DeviceError(f"{path}: runtimes.{runtime} has {precision!r}: {choices(precision, PRECISIONS)}")
    return tuple(value)
