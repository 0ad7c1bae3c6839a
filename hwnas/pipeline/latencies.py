"""The latency of model files on their devices, and why where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import DeviceProfile, load_profile
from hwnas.errors import ConfigError, DeviceError, MissingExtraError
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import Reporter

__all__ = ["MeasuredLatency", "TimedFile", "device_named", "measure_latencies"]


@dataclass(frozen=True)
class TimedFile:
    """A file to be measured; `shape` is its input, `[1, C, H, W]` (or more: `hwnas.export.signature.fed_shape`)."""

    key: str
    path: Path
    device: str
    runtime: str
    threads: int
    shape: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """A file's latency, and `reference_ms` of the network measured beside it (see `hwnas.profiling.files`); or all of
    that None, and the `reason`.
    """

    median_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    samples: int | None = None
    threads: int | None = None
    runtime_version: str | None = None
    reference_ms: float | None = None
    reason: str | None = None


def measure_latencies(
    device: DeviceConfig,
    profiling: ProfilingConfig,
    files: Sequence[TimedFile],
    work: Path,
    seed: int,
    reporter: Reporter,
) -> dict[str, MeasuredLatency]:
    """By key. Files of one device and runtime take turns. `device` says how that one is reached, others are as their
    profile says. `work`: a folder with which a killed run goes on.
    """
    found: dict[str, MeasuredLatency] = {}
    for name, runtime, threads in dict.fromkeys((file.device, file.runtime, file.threads) for file in files):
        mine = [file for file in files if (file.device, file.runtime, file.threads) == (name, runtime, threads)]
        folder = work / f"{name}-{runtime}-{threads}t"
        try:
            settings = replace(profiling, runtime=runtime, precision="fp32", threads=threads)
            found |= _measure(device, name, settings, mine, folder, seed, reporter)
        except (DeviceError, MissingExtraError, ConfigError) as error:
            reporter.say(f"  no latency on {name}, {runtime}: {error}")
            found |= {file.key: MeasuredLatency(threads=threads, reason=str(error)) for file in mine}
    return found


def device_named(device: DeviceConfig, name: str) -> tuple[DeviceProfile, DeviceConfig]:
    """A device's profile and how to reach it: as `device` says where that is it. Raises DeviceError."""
    own = load_profile(device.name)
    return (own, device) if own.name == name else (load_profile(name), DeviceConfig(name=name))


def _measure(
    device: DeviceConfig,
    name: str,
    settings: ProfilingConfig,
    files: Sequence[TimedFile],
    work: Path,
    seed: int,
    reporter: Reporter,
) -> dict[str, MeasuredLatency]:
    from hwnas.profiling.files import measure_files

    profile, reached = device_named(device, name)
    runtime, threads = settings.runtime, settings.threads
    if runtime not in profile.runtimes:
        raise DeviceError(f"{name} does not run {runtime}: its profile has {', '.join(profile.runtimes)}")
    shapes = {file.key: file.shape for file in files}
    title = f"latency: {len(files)} files on {name}, {runtime}, {threads} threads"
    with reporter.step(title) as progress, connect(profile, reached) as transport:
        measured = measure_files(
            {file.key: file.path for file in files}, shapes, transport, settings, work, seed, progress,
            profile.tvm_target,
        )  # fmt: skip
    version = measured.facts.get("runtime_version")
    found = {
        key: MeasuredLatency(
            **asdict(one), threads=threads, runtime_version=version, reference_ms=measured.reference_ms
        )
        for key, one in measured.latencies.items()
    }
    rejected = {
        key: MeasuredLatency(threads=threads, reason=f"{runtime} rejects the file: {why}")
        for key, why in measured.rejected.items()
    }
    return {**found, **rejected}
