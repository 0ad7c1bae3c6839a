"""What can be known to be wrong before the first expensive step: data, devices, runtimes, formats, folders."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.data import fashion_mnist
from hwnas.data.config import DataConfig, FashionMnistConfig, describe
from hwnas.devices.connect import connect
from hwnas.devices.profile import DeviceProfile, load_profile
from hwnas.errors import StorageError
from hwnas.executors.choose import open_executor
from hwnas.export.formats import format_of_runtime
from hwnas.export.passes import require
from hwnas.memory import check_memory
from hwnas.pipeline.config import DeviceStep, RunStep
from hwnas.pipeline.space import resolve_space
from hwnas.profiling.measure import probe
from hwnas.progress import Reporter, no_progress

__all__ = ["check_device", "check_folders", "check_run"]


def check_run(config: RunStep, folder: Path, steps: Sequence[str], reporter: Reporter) -> None:
    """Everything that `hwnas run` will ask of data, device, installation, memory and disk, found out within seconds.

    Data that are fetched are fetched here. Raises HwnasError for the first thing that is missing: images, a checkpoint
    to start from, a device that does not exist, does not run the runtime or does not answer, a cluster of workers, an
    extra that is not installed, a format that is not written so, a folder that can't be written.
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
    check_device(config)


def check_device(config: DeviceStep) -> DeviceProfile:
    """The configured device's profile, once it has answered and each runtime is known to run there.

    Raises DeviceError, ConfigError for a setting that a runtime does not have, and MissingExtraError.
    """
    profile = load_profile(config.device.name)
    for name in config.runtimes:
        settings = replace(config.profiling, runtime=name)
        profile.check_runtime(name, settings.precision)
        written = format_of_runtime(name)
        require(written.packages, written.extra, f"measuring in {name}")
    with connect(profile, config.device) as transport:
        for name in config.runtimes:
            probe(transport, replace(config.profiling, runtime=name))
    return profile


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
    """As `hwnas export` will, but for what only the found networks tell."""
    from hwnas.pipeline.export.plan import Target, plan_files

    target = Target(
        "network", config.device.name, config.runtimes, config.profiling.precision, config.profiling.threads, "budget",
        "budget", None, {},
    )  # fmt: skip
    plan_files([target], config.formats, config.precisions)
