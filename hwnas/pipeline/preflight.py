"""What can be known to be wrong before the first expensive step: data, devices, runtimes, formats, folders."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from hwnas.data import fashion_mnist
from hwnas.data.config import DataConfig, FashionMnistConfig, describe
from hwnas.devices.connect import connect
from hwnas.devices.fleet import Unit
from hwnas.errors import ConfigError, DeviceError, StorageError
from hwnas.executors.choose import open_executor
from hwnas.export.formats import format_of_runtime
from hwnas.export.passes import require
from hwnas.memory import check_memory
from hwnas.pipeline.config import RunStep
from hwnas.pipeline.on_units import Order, ask_units, told_of
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.units import by_model, names_of, units_of
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.measure import probe
from hwnas.progress import Progress, Reporter, no_progress

__all__ = ["check_devices", "check_folders", "check_run"]

_CHECKED_AT_ONCE = 8  # a process each


def check_run(config: RunStep, folder: Path, steps: Sequence[str], reporter: Reporter) -> None:
    """Everything that `hwnas run` will ask of data, devices, installation, memory and disk, found out within seconds.

    Data that are fetched are fetched here. Raises HwnasError for the first thing that is missing: images, a checkpoint
    to start from, one of the devices that does not exist, does not run the runtime or does not answer, a cluster of
    workers, an extra that is not installed, a format that is not written so, a folder that can't be written.
    """
    check_memory()
    check_folders([folder / step for step in steps])
    if config.executor.kind != "local":
        open_executor(config.executor).close()
    require(("torch", "lightning_fabric", "kornia", "sklearn"), "train", "training")
    _check_formats(config)
    _check_data(config.images, reporter)
    if config.checkpoint is not None:
        _check_start(config.checkpoint, config)
    check_devices(config, reporter)


def check_devices(config: RunStep, reporter: Reporter) -> None:
    """Each of the devices is known to run the runtimes, and has answered with them.

    A unit of a fleet that fails is said, since others of its model do its work. Raises DeviceError, which names the
    device where there are several, for a model of which none is left, ConfigError for a setting that a runtime does not
    have, MissingExtraError, and ExecutorError for a host that no node has.
    """
    units = units_of(config)
    models = by_model(units)
    settings = [replace(config.profiling, runtime=name) for name in config.runtimes]
    for own in models.values():
        for one in settings:
            own[0].profile.check_runtime(one.runtime, one.precision)
    for name in config.runtimes:
        written = format_of_runtime(name)
        require(written.packages, written.extra, f"measuring in {name}")
    orders = [Order((unit,), partial(_probed, settings)) for unit in units]
    with reporter.step(f"checking {names_of(units)}") if len(units) > 1 else nullcontext(no_progress) as progress:
        answers = ask_units("checking devices", orders, config.executor, reporter.say, progress, _CHECKED_AT_ONCE)
    for name, own in models.items():
        mine = [one for one in answers if one.unit.profile.name == name]
        failed = [told_of(one.unit, one.problem) for one in mine if one.problem is not None]
        if len(units) == 1:
            mine[0].settled()
        elif len(failed) == len(own):
            raise DeviceError(
                failed[0] if len(own) == 1 else f"{name}: none of {len(own)} answers: {'; '.join(failed)}"
            )
        for text in failed:
            reporter.say(f"{text}; the others of {name} do its work")


def _probed(settings: Sequence[ProfilingConfig], unit: Unit, progress: Progress) -> None:  # noqa: ARG001
    with connect(unit.profile, unit.device) as transport:
        for one in settings:
            probe(transport, one)


def check_folders(folders: Sequence[Path]) -> None:
    """Raise StorageError for the first of `folders` in which no file can be put. They are made where needed."""
    folder = Path()
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}; choose another folder") from error


def _check_data(config: DataConfig, reporter: Reporter) -> None:
    """DataError where there are no images, where they can't be fetched, or where a file of the set is spoilt."""
    if not isinstance(config, FashionMnistConfig):
        describe(config)
        return
    if not fashion_mnist.is_here(config.root):
        with reporter.step("data: fetching Fashion-MNIST, 30 MB") as progress:
            fashion_mnist.find(config.root, progress)
    fashion_mnist.read(config, no_progress)


def _check_start(checkpoint: str, config: RunStep) -> None:
    """CheckpointError where training can't start from it."""
    from hwnas.training.start import check_start

    check_start(Path(checkpoint).expanduser(), resolve_space(config))


def _check_formats(config: RunStep) -> None:
    """As `hwnas export` will, but for what only the found networks tell; and as `hwnas validate` will."""
    from hwnas.pipeline.export.plan import Target, check_formats, plan_files

    units, profiling = units_of(config), config.profiling
    targets = [
        Target(
            "network", device, config.runtimes, profiling.precision, profiling.threads, "budget", "budget", None, {}
        )
        for device in by_model(units)
    ]  # fmt: skip
    check_formats(units, config.formats)
    plan_files(targets, config.formats, config.precisions)
    for name in config.runtimes:
        measured = {"formats": format_of_runtime(name).name, "precisions": profiling.precision}
        for key, needed in measured.items():
            if (asked := getattr(config, key)) and needed not in asked:
                raise ConfigError(
                    f"{key}: expected {needed} among them, in which the networks for {name} are measured, got"
                    f" {', '.join(asked)}: add it, or leave {key} out"
                )
