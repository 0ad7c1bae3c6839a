"""Device profiles: what is publicly known of a device, and how to reach it. One YAML file a device."""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from hwnas.devices.config import TRANSPORTS
from hwnas.devices.profile_file import read_profile
from hwnas.errors import DeviceError, choices
from hwnas.files import packaged
from hwnas.runtimes import PRECISIONS, RUNTIMES

__all__ = [
    "DELEGATES",
    "MACS_PER_CYCLE",
    "Cores",
    "DeviceProfile",
    "is_profile_file",
    "load_profile",
    "profile_name",
    "profile_names",
    "profile_path",
]

DELEGATES = ("xnnpack", "gpu", "nnapi", "edge_tpu", "onnxruntime_cpu", "tvm")


# float32 multiply-accumulates a cycle of one core: its FMA units and their width, https://en.wikichip.org/wiki/flops.
# Cores that the page does not list are left out.
MACS_PER_CYCLE = {
    "Cortex-A57": 4,
    "Cortex-A76": 8,
    "Cortex-A77": 8,
    "Cortex-A78": 8,
    "Cortex-A78AE": 8,  # the same core with a lock-step mode
    "Neoverse N1": 8,
    "Neoverse N2": 8,
    "Neoverse V1": 16,
}


@dataclass(frozen=True)
class Cores:
    """Cores of one kind: their number, and their highest clock where it is published."""

    core: str
    count: int
    ghz: float | None = None


@dataclass(frozen=True)
class DeviceProfile:
    """The facts about one device.

    `runtimes`: runtime to the precisions that it runs there. `cpu`: its cores, the fastest first. `peak_gmacs`: 10⁹
    multiply-accumulates a second of one core in fp32; where it is not given, the fastest core's clock times its
    `MACS_PER_CYCLE`. `bandwidth_gb_s`: of the memory, 10⁹ bytes a second. Facts that nobody has published are None,
    never guessed; `sources` says where the others are from. `max_file_mib`: the largest model file that it takes.
    `delegates`: what runs operators there, for preflight (empty: each runtime's CPU kernels). `address`: see
    `DeviceConfig`. `tvm_target`: LLVM's triple and processor, None for this machine's.
    """

    name: str
    description: str
    transport: str
    runtimes: dict[str, tuple[str, ...]]
    soc: str | None = None
    cpu: tuple[Cores, ...] = ()
    memory_mib: int | None = None
    peak_gmacs: float | None = None
    bandwidth_gb_s: float | None = None
    max_file_mib: float | None = None
    delegates: tuple[str, ...] = ()
    address: str | None = None
    tvm_target: str | None = None
    sources: tuple[str, ...] = field(default=())

    @property
    def cores(self) -> int | None:
        """The number of CPU cores."""
        return sum(kind.count for kind in self.cpu) or None

    def check_runtime(self, runtime: str, precision: str) -> None:
        """Raises DeviceError where the device does not run `runtime` in `precision`."""
        if runtime not in self.runtimes:
            raise DeviceError(f"device {self.name} does not run {runtime!r}: {choices(runtime, self.runtimes)}")
        if precision not in self.runtimes[runtime]:
            valid = choices(precision, self.runtimes[runtime])
            raise DeviceError(f"device {self.name} does not run {runtime} in {precision!r}: {valid}")


def profile_names() -> list[str]:
    """The names of the shipped profiles, sorted.

    >>> "raspberry_pi_5" in hwnas.profile_names()
    True
    """
    return sorted(path.stem for path in packaged("device_profiles").glob("*.yaml"))


def is_profile_file(name: str) -> bool:
    """Whether a device's `name` is the path of a profile of one's own, rather than a shipped one's name."""
    return name.endswith((".yaml", ".yml"))


def profile_name(name: str) -> str:
    """What the profile calls itself, which its tables' folder is called too: of a path, the file's name alone."""
    return Path(name).stem if is_profile_file(name) else name


def profile_path(name: str) -> Path:
    """The file of the profile with this name, or `name` where it is a file's path. Raises DeviceError for neither."""
    path = Path(name) if is_profile_file(name) else packaged("device_profiles") / f"{name}.yaml"
    if not path.is_file():
        raise DeviceError(f"no device profile {name!r}: {choices(name, profile_names())}; or give a .yaml file's path")
    return path


def load_profile(name: str) -> DeviceProfile:
    """The profile with this name among the shipped ones, or in the file that `name` is the path of.

    Raises DeviceError for an unknown name, and naming file and key for a file that is not a valid profile.

    >>> hwnas.load_profile("raspberry_pi_5").bandwidth_gb_s
    17.1
    """
    path = profile_path(name)
    return _validated(path, read_profile(path, _NUMBERS))


_FACTS = ("cpu", "memory_mib", "peak_gmacs", "bandwidth_gb_s", "max_file_mib")

_NUMBERS = ("memory_mib", "peak_gmacs", "bandwidth_gb_s", "max_file_mib", "count", "ghz")

_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "transport": (str,),
    "runtimes": (dict,),
    "soc": (str,),
    "cpu": (list,),
    "memory_mib": (int,),
    "peak_gmacs": (int, float),
    "bandwidth_gb_s": (int, float),
    "max_file_mib": (int, float),
    "delegates": (list,),
    "address": (str,),
    "tvm_target": (str,),
    "sources": (list,),
}


_WORDS = {str: "text", dict: "keys and values", list: "a list", int: "a whole number", float: "a number"}


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
            expected = " or ".join(_WORDS[kind] for kind in types)
            raise DeviceError(f"{path}: {key} is {value!r}, expected {expected}")
        if isinstance(value, (int, float)) and not (math.isfinite(value) and value > 0):
            raise DeviceError(f"{path}: {key} is {value!r}, expected a positive number")
    if content["name"] != path.stem:
        raise DeviceError(f"{path}: name is {content['name']!r}, expected the file's: {path.stem!r}")
    if content["transport"] not in TRANSPORTS:
        valid = choices(content["transport"], TRANSPORTS)
        raise DeviceError(f"{path}: transport is {content['transport']!r}: {valid}")
    runtimes = {runtime: _precisions(path, runtime, value) for runtime, value in content["runtimes"].items()}
    cpu = tuple(_cores(path, entry) for entry in content.get("cpu") or ())
    peak = content.get("peak_gmacs")
    if peak is None and cpu and cpu[0].ghz and cpu[0].core in MACS_PER_CYCLE:
        peak = cpu[0].ghz * MACS_PER_CYCLE[cpu[0].core]
    delegates = tuple(content.get("delegates") or ())
    for delegate in delegates:
        if delegate not in DELEGATES:
            raise DeviceError(f"{path}: delegates has {delegate!r}: {choices(delegate, DELEGATES)}")
    sources = tuple(content.get("sources") or ())
    if wrong := [source for source in sources if not isinstance(source, str)]:
        raise DeviceError(f"{path}: sources has {wrong[0]!r}, expected lines of text")
    if not sources and any(content.get(key) for key in ("soc", *_FACTS)):
        raise DeviceError(f"{path}: facts without a source: give the pages that they are from under sources")
    parsed = {"runtimes": runtimes, "cpu": cpu, "peak_gmacs": peak, "delegates": delegates, "sources": sources}
    return DeviceProfile(**{**content, **parsed})


def _cores(path: Path, value: object) -> Cores:
    if not isinstance(value, dict) or not {"core", "count"} <= set(value) <= {"core", "count", "ghz"}:
        raise DeviceError(f"{path}: cpu has {value!r}, expected core, count and ghz")
    count, ghz = value["count"], value.get("ghz")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise DeviceError(f"{path}: cpu count is {count!r}, expected a positive integer")
    if ghz is not None and (not isinstance(ghz, (int, float)) or isinstance(ghz, bool) or not 0 < ghz < 20):
        raise DeviceError(f"{path}: cpu ghz is {ghz!r}, expected a clock such as 2.4")
    if not isinstance(value["core"], str):
        raise DeviceError(f"{path}: cpu core is {value['core']!r}, expected its name")
    return Cores(value["core"], count, ghz)


def _precisions(path: Path, runtime: object, value: object) -> tuple[str, ...]:
    if runtime not in RUNTIMES:
        raise DeviceError(f"{path}: runtimes has {runtime!r}: {choices(runtime, RUNTIMES)}")
    if not isinstance(value, list) or not value:
        raise DeviceError(f"{path}: runtimes.{runtime} is {value!r}, expected a list of precisions such as [fp32]")
    for precision in value:
        if precision not in PRECISIONS:
            raise DeviceError(f"{path}: runtimes.{runtime} has {precision!r}: {choices(precision, PRECISIONS)}")
    return tuple(value)
