"""The latency of model files on their devices, and why where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.connect import connect
from hwnas.devices.fleet import Unit
from hwnas.errors import ConfigError, DeviceError
from hwnas.executors.config import ExecutorConfig
from hwnas.pipeline.on_units import Order, ask_units
from hwnas.pipeline.units import called, own_folder, trusted, units_named
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import Progress, Reporter

if TYPE_CHECKING:
    from hwnas.profiling.files import FileLatencies

__all__ = ["MeasuredLatency", "TimedFile", "measure_latencies"]


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
    units: Sequence[Unit],
    profiling: ProfilingConfig,
    files: Sequence[TimedFile],
    work: Path,
    seed: int,
    reporter: Reporter,
    executor: ExecutorConfig,
    left_out: frozenset[str] = frozenset(),
) -> dict[str, MeasuredLatency]:
    """By key. Files of one device and runtime take turns; several devices are at it at once, by the executor's workers.

    `units` say how their devices are reached, of a model with several the first that answers and is not `left_out`, by
    its name; other devices are reached as their profile says. `work`: a folder with which a killed run goes on.
    """
    found: dict[str, MeasuredLatency] = {}
    for runtime, threads in dict.fromkeys((file.runtime, file.threads) for file in files):
        of_device: dict[str, list[TimedFile]] = {}
        for file in files:
            if (file.runtime, file.threads) == (runtime, threads):
                of_device.setdefault(file.device, []).append(file)
        orders: dict[str, Order[FileLatencies]] = {}
        problems: dict[str, Exception] = {}
        for name, mine in of_device.items():
            folder = work / f"{name}-{runtime}-{threads}t"
            try:
                settings = replace(profiling, runtime=runtime, precision="fp32", threads=threads)
                own = units_named(units, name)
            except (DeviceError, ConfigError) as error:
                problems[name] = error
            else:
                work_of = partial(_measured, mine, settings, own_folder(folder, own), seed)
                orders[name] = Order(trusted(own, left_out), work_of)
        if orders:
            count = sum(len(of_device[name]) for name in orders)
            where = ", ".join(called(order.units[0], units_named(units, name)) for name, order in orders.items())
            title = f"latency: {count} files on {where}, {runtime}, {threads} threads"
            with reporter.step(title) as progress:
                answers = ask_units("latency", list(orders.values()), executor, reporter.say, progress)
            for name, answer in zip(orders, answers, strict=True):
                if answer.found is None:
                    problems[name] = answer.problem or ValueError("no answer")
                else:
                    found |= _latencies(answer.found, runtime, threads)
        for name, problem in problems.items():
            reporter.say(f"  no latency on {name}, {runtime}: {problem}")
            found |= {file.key: MeasuredLatency(threads=threads, reason=str(problem)) for file in of_device[name]}
    return found


def _measured(
    files: Sequence[TimedFile],
    settings: ProfilingConfig,
    folder_of: Callable[[Unit], Path],
    seed: int,
    unit: Unit,
    progress: Progress,
) -> FileLatencies:
    from hwnas.profiling.files import measure_files

    profile, runtime = unit.profile, settings.runtime
    if runtime not in profile.runtimes:
        raise DeviceError(f"{profile.name} does not run {runtime}: its profile has {', '.join(profile.runtimes)}")
    shapes = {file.key: file.shape for file in files}
    with connect(profile, unit.device) as transport:
        return measure_files(
            {file.key: file.path for file in files}, shapes, transport, settings, folder_of(unit), seed, progress,
            profile.tvm_target,
        )  # fmt: skip


def _latencies(measured: FileLatencies, runtime: str, threads: int) -> dict[str, MeasuredLatency]:
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
