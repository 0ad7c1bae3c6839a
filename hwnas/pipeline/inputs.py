"""What a step reads: the space, the data and the files of the steps before it, wherever they were put."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hwnas.data import fashion_mnist
from hwnas.data.config import DataConfig, FashionMnistConfig, ImageFolderConfig, describe
from hwnas.data.image_stamp import images_stamp
from hwnas.devices.profile import profile_name
from hwnas.errors import StorageError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from hwnas.files import sha256_of_file
from hwnas.latency.tables.table import table_path
from hwnas.pipeline.config import DeviceStep, SpaceStep
from hwnas.pipeline.search.result import ChosenNetwork
from hwnas.pipeline.space import check_fit
from hwnas.pipeline.store.folders import step_folder
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.store.steps import read_result
from hwnas.pipeline.trained_on import as_imagenet, read_trained_on
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import Progress, no_progress
from hwnas.spaces import Space

if TYPE_CHECKING:
    from hwnas.data.load import ImageData
    from hwnas.supernet.single import TrainedNetwork

CHECKPOINT = "supernet.safetensors"

N = TypeVar("N", bound=ChosenNetwork)

__all__ = [
    "CHECKPOINT",
    "chosen_networks",
    "data_inputs",
    "input_path",
    "load_images",
    "load_network",
    "matching",
    "searched_networks",
    "table_files",
    "tables_of",
    "trained_checkpoint",
    "writers",
]


def input_path(given: str | None, folder: Path, step: str, file: str, key: str) -> Path:
    """`given`, or what `step` wrote beside `folder`. Raises StorageError, naming the setting, where it is not there."""
    path = Path(given).expanduser() if given else step_folder(folder, step) / file
    if not path.exists():
        raise StorageError(f"no such file: {path}; run hwnas {step} first, or give {key}=PATH")
    return path


def trained_checkpoint(given: str | None, config: SpaceStep, folder: Path) -> Path:
    """The supernet: `given`, or what `hwnas train` wrote. Raises StorageError where it is not there, and
    CheckpointError where it was trained on other classes than the data's.
    """
    return matching(input_path(given, folder, "train", CHECKPOINT, "checkpoint"), config)


def matching(checkpoint: Path, config: SpaceStep) -> Path:
    """`checkpoint`, unless it was trained on other classes than the data's: CheckpointError."""
    if (trained := read_trained_on(checkpoint)) is not None:
        trained.check_classes(describe(config.images))
    return checkpoint


def searched_networks(path: Path, kind: type[N]) -> list[N]:
    """The networks that a search chose. Raises StorageError where `path` is no result of `hwnas search`."""
    selected = read_result(path).get("selected") or []
    if not selected:
        raise StorageError(f"{path}: expected the result.json that hwnas search writes; it has no key 'selected'")
    return [from_plain(kind, entry, path) for entry in selected]


def chosen_networks(targets: str | None, config: SpaceStep, folder: Path, kind: type[N]) -> tuple[Path, list[N]]:
    """The file that says which networks were chosen, and its entries, each with the path of its `checkpoint` or None.

    `targets`, or what `hwnas finetune` wrote beside `folder`, or else what `hwnas search` did. Raises StorageError
    where there is none, or where the search was done again since the fine-tuning.
    """
    tuned, searched = (step_folder(folder, step) / "result.json" for step in ("finetune", "search"))
    if targets or not tuned.exists():
        path = input_path(targets, folder, "search", "result.json", "targets")
    else:
        path = tuned
        if searched.exists() and read_result(tuned).get("searched") != sha256_of_file(searched):
            raise StorageError(f"{tuned} is of a former search: run hwnas finetune again, or give targets={searched}")
    return path, [
        replace(entry, checkpoint=str(matching(path.parent / entry.checkpoint, config))) if entry.checkpoint else entry
        for entry in searched_networks(path, kind)
    ]


def load_network(checkpoint: Path, space: Space) -> TrainedNetwork:
    """What `checkpoint` holds, in eval mode: as `hwnas train` writes it, or a file that once-for-all published.

    Raises CheckpointError where it is neither, or not of `space`.
    """
    from hwnas.training.checkpoint import load_any

    return load_any(checkpoint, space)


def load_images(
    config: SpaceStep,
    space: Space | None,
    say: Callable[[str], None],
    checkpoint: Path | None = None,
    progress: Progress = no_progress,
) -> ImageData:
    """The data set, checked against the space's classes and channels, prepared as `checkpoint` was trained.

    What was left out of it, and what differs from the checkpoint's preprocessing, is said.
    """
    from hwnas.data.load import load_data
    from hwnas.supernet.published import is_ofa_checkpoint

    data = load_data(config.images, config.seed, lambda _, status: progress(0.0, status))
    for note in data.notes:
        say(f"data: {note}")
    if space is not None:
        check_fit(space, data.name, len(data.classes), data.channels)
    if checkpoint is None:
        return data
    trained = read_trained_on(checkpoint)
    if trained is None:
        return as_imagenet(checkpoint, data, config.images, say) if is_ofa_checkpoint(checkpoint) else data
    of_these = {trained.classes, trained.folders} & {data.classes, data.folders}  # else none of them were trained on
    if of_these and data.held_out_drawn:
        trained.tell_of_seed(config.seed, say)
    return trained.preprocessed(data, config.images, say)


def tables_of(config: DeviceStep, device: str, folder: Path) -> dict[str, Path]:
    """Each runtime's latency table of `device`, a profile's name or path, in `folder`, whether it exists or not."""
    settings = {runtime: replace(config.profiling, runtime=runtime).setting for runtime in config.runtimes}
    name = profile_name(device)
    return {runtime: table_path(folder, name, setting) for runtime, setting in settings.items()}


def table_files(path: Path) -> dict[str, Path]:
    """The files of a latency table by role."""
    return {
        "latency table": path,
        "networks of the latency table": path.with_name(f"{path.stem}.networks.csv"),
        "provenance of the latency table": path.with_suffix(".json"),
    }


def data_inputs(config: DataConfig) -> dict[str, Any]:
    """What a step's inputs say of the data: its settings; of files what is read of them, not where they lie."""
    values: dict[str, Any] = to_plain(config)
    del values["licence"]  # changes nothing but what a manifest says
    if "augment" in values:  # what finished runs of earlier versions did not know, and what is off, is not compared
        augment = values["augment"]
        if not augment["rand_operations"]:
            del augment["rand_operations"], augment["rand_magnitude"]
        for key in ("mixup", "cutmix"):
            if not augment[key]:
                del augment[key]
    if isinstance(config, ImageFolderConfig) and config.root:
        # What lies there is stamped; workers and the cache change the time alone.
        for key in ("root", "class_names", "workers", "cache_mib"):
            del values[key]
        values["files"] = images_stamp(config)
    elif isinstance(config, FashionMnistConfig) and config.root:
        del values["root"]
        values["files"] = fashion_mnist.files_stamp(config.root)
    return values


def writers(
    config: ExecutorConfig, profiling: ProfilingConfig, space: Space
) -> AbstractContextManager[Executor | None]:
    """What writes models to be measured, None for this process: compiling takes seconds each, and so does exporting of
    kinds that have no fast writer; other files are written before a worker has started.
    """
    from hwnas.profiling.runtimes import runtime_named

    is_slow = runtime_named(profiling.runtime).model_format.compiles_for_target or not all(
        operator.has_fast_writer() for operator in space.operators
    )
    if is_slow or config.is_asked:
        return open_executor(config)
    return nullcontext()
