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
from hwnas.pipeline.config import PipelineConfig
from hwnas.progress import Reporter

__all__ = ["TimedFile", "device_named", "measure_latencies", "no_latency"]


@dataclass(frozen=True)
class TimedFile:
    """A file to be measured; `shape` is its input, `[1, C, H, W]` (or more: `hwnas.export.signature.fed_shape`)."""

    key: str
    path: Path
    device: str
    runtime: str
    threads: int
    shape: tuple[Any, ...]


def measure_latencies(
    config: PipelineConfig, files: Sequence[TimedFile], work: Path, reporter: Reporter
) -> dict[str, dict[str, Any]]:
    """By key: `median_ms`, `p10_ms`, `p90_ms`, `samples`, `threads`, `runtime_version` and `reference_ms` (see
    `hwnas.profiling.files`), `reason` None; or all of these None and the reason.

    Files of one device and runtime take turns. `work`: a folder with which a killed run goes on.
    """
    found: dict[str, dict[str, Any]] = {}
    for device, runtime, threads in dict.fromkeys((file.device, file.runtime, file.threads) for file in files):
        mine = [file for file in files if (file.device, file.runtime, file.threads) == (device, runtime, threads)]
        folder = work / f"{device}-{runtime}-{threads}t"
        try:
            found |= _measure(config, device, runtime, threads, mine, folder, reporter)
        except (DeviceError, MissingExtraError, ConfigError) as error:
            reporter.say(f"  no latency on {device}, {runtime}: {error}")
            found |= {file.key: no_latency(str(error), threads) for file in mine}
    return found


def no_latency(reason: str, threads: int | None = None) -> dict[str, Any]:
    """What stands for the latency of a file that was not measured."""
    unknown = dict.fromkeys(("median_ms", "p10_ms", "p90_ms", "samples", "runtime_version", "reference_ms"))
    return {**unknown, "threads": threads, "reason": reason}


def device_named(config: PipelineConfig, name: str) -> tuple[DeviceProfile, DeviceConfig]:
    """A device's profile and how to reach it: as configured where it is the configured one. Raises DeviceError."""
    own = load_profile(config.device.name)
    return (own, config.device) if own.name == name else (load_profile(name), DeviceConfig(name=name))


def _measure(
    config: PipelineConfig,
    device: str,
    runtime: str,
    threads: int,
    files: Sequence[TimedFile],
    work: Path,
    reporter: Reporter,
) -> dict[str, dict[str, Any]]:
    from hwnas.profiling.files import measure_files

    profile, reached = device_named(config, device)
    if runtime not in profile.runtimes:
        raise DeviceError(f"{device} does not run {runtime}: its profile has {', '.join(profile.runtimes)}")
    settings = replace(config.profiling, runtime=runtime, precision="fp32", threads=threads)
    shapes = {file.key: file.shape for file in files}
    title = f"latency: {len(files)} files on {device}, {runtime}, {threads} threads"
    with reporter.step(title) as progress, connect(profile, reached) as transport:
        measured = measure_files(
            {file.key: file.path for file in files}, shapes, transport, settings, work, config.seed, progress,
            profile.tvm_target,
        )  # fmt: skip
    common = {"threads": threads, "runtime_version": measured.facts.get("runtime_version")}
    found = {
        key: {**asdict(one), **common, "reference_ms": measured.reference_ms, "reason": None}
        for key, one in measured.latencies.items()
    }
    rejected = {
        key: no_latency(f"{runtime} rejects the file: {why}", threads) for key, why in measured.rejected.items()
    }
    return {**found, **rejected}
