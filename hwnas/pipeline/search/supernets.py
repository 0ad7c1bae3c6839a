"""Which supernets are searched: the one of the search's own run, or those of several runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from hwnas.data.config import DataDescription, ImageFolderConfig, NoDataConfig, tree_of
from hwnas.errors import ConfigError, StorageError
from hwnas.pipeline.config import ExportStep, FinetuneStep, SearchStep, ValidateStep
from hwnas.pipeline.inputs import CHECKPOINT, data_inputs
from hwnas.pipeline.search.result import SearchedSupernet
from hwnas.pipeline.search.sources import PREDICTOR
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.folders import step_folder
from hwnas.pipeline.store.steps import read_or_none
from hwnas.pipeline.trained_on import read_trained_on
from hwnas.spaces import Space, settings_of, space_from_dict

__all__ = ["Supernet", "beside", "by_supernet", "of_supernet", "supernets_of"]

C = TypeVar("C", SearchStep, FinetuneStep, ExportStep, ValidateStep)
N = TypeVar("N", bound="_OfSupernet")

_IMAGES = ("name", "files", "held_out", "test_share", "split_seed", "skip_broken")
"""Settings of data that decide which images are held out. How they are cut and scaled is each supernet's own."""


@dataclass(frozen=True)
class Supernet:
    """A supernet to search, whose `space` `config` has. The steps before wrote beside the folder `beside`, and what its
    search keeps goes to `work`. `origin`: which of several it is, None for the only one.
    """

    config: SearchStep
    space: Space
    beside: Path
    work: Path
    origin: SearchedSupernet | None = None


class _OfSupernet(Protocol):
    @property
    def supernet(self) -> SearchedSupernet | None: ...


@dataclass(frozen=True)
class _Run:
    """The folder of a run as it was `given`, and what its evaluation was asked for, with which `seed`."""

    given: str
    seed: Any
    data: Mapping[str, Any]
    images: Any
    supernet: Supernet

    @property
    def held_out(self) -> dict[str, Any]:
        """What decides on which images its accuracies were measured, but for the seed."""
        return {**_held_out(self.data), "evaluation.measure.images": self.images}


def supernets_of(config: SearchStep, folder: Path) -> tuple[Supernet, ...]:
    """The supernets of `config.runs`, or the one of the run that `folder` is a step of.

    Raises ConfigError for settings that go with one supernet, for two spaces of one name, and for supernets that were
    not evaluated on the same images, StorageError for a folder that is no run or lacks a step, CheckpointError for
    supernets of different classes.
    """
    if not config.runs:
        return (Supernet(config, resolve_space(config), folder, folder),)
    given = {
        "checkpoint": config.checkpoint, "accuracy.path": config.accuracy.path, "latency.path": config.latency.path
    }  # fmt: skip
    if one := [key for key, value in given.items() if value is not None]:
        raise ConfigError(f"runs and {one[0]}: each of the runs has its own: leave {one[0]} out")
    runs = [_read(config, folder, place, one) for place, one in enumerate(config.runs)]
    names = Counter(run.supernet.space.name for run in runs)
    for name, count in names.items():
        if count > 1:
            twice = [run.given for run in runs if run.supernet.space.name == name]
            raise ConfigError(
                f"runs: {' and '.join(twice)} are of one space, {name}: expected a name for each; space.name=NAME"
                " gives one, in all steps of a run"
            )
    for other in runs[1:]:
        _check_same_images(config, runs[0], other)
    if config.search.evaluate_top:
        now = _held_out(data_inputs(runs[0].supernet.config.images))
        _check_equal(_held_out(runs[0].data), now, runs[0].given, "this search", "give the data of the runs")
    return tuple(run.supernet for run in runs)


def of_supernet(config: C, supernet: SearchedSupernet | None) -> C:
    """`config` for networks of `supernet`, with its space and checkpoint, and images as it was trained on; as it is for
    None.

    Raises ConfigError where another checkpoint is given, StorageError where the supernet is gone.
    """
    if supernet is None:
        return config
    if config.checkpoint is not None:
        raise ConfigError(
            "checkpoint: the networks are of several supernets, and say of which each is: leave checkpoint out"
        )
    if not Path(supernet.checkpoint).is_file():
        raise StorageError(
            f"no such file: {supernet.checkpoint}, the supernet of {supernet.name}: run hwnas search again, with"
            " runs=[…] where the runs are now"
        )
    own = replace(config, space=settings_of(space_from_dict(supernet.space)), checkpoint=supernet.checkpoint)
    return _with_images_as_trained(own, Path(supernet.checkpoint))


def beside(folder: Path, supernet: SearchedSupernet | None) -> Path:
    """Where to look for what the steps before a search wrote: beside `folder`, or in the supernet's own run."""
    return folder if supernet is None else Path(supernet.run) / folder.name


def by_supernet(chosen: Sequence[N]) -> list[tuple[SearchedSupernet | None, list[N]]]:
    """The networks of each supernet, in the order of its first."""
    found: dict[str | None, tuple[SearchedSupernet | None, list[N]]] = {}
    for one in chosen:
        name = None if one.supernet is None else one.supernet.name
        found.setdefault(name, (one.supernet, []))[1].append(one)
    return list(found.values())


def _read(config: SearchStep, folder: Path, place: int, given: str) -> _Run:
    run = Path(given).expanduser().resolve()
    if not run.is_dir():
        raise StorageError(f"runs: no such folder: {given}; expected folders of runs, such as runs/NAME")
    own_search = run / "search"
    latencies = {"hwnas": ("profile", ""), "fewshot": ("onboard", PREDICTOR)}.get(config.latency.format)
    needed = [("train", CHECKPOINT), ("evaluate", PREDICTOR), *([latencies] if latencies else [])]
    missing = [(step, file) for step, file in needed if not (step_folder(own_search, step) / file).exists()]
    if len(missing) == len(needed):
        raise StorageError(f"runs: {given} is no run: expected a folder with {', '.join(step for step, _ in needed)}")
    for step, file in missing:
        raise StorageError(
            f"runs: {given} has no {step}/{file}: run hwnas {step} hydra.run.dir={given}/{step} first, with that run's"
            " settings"
        )
    path = step_folder(own_search, "evaluate") / "inputs.json"
    evaluated = read_or_none(path)
    try:
        space = space_from_dict(evaluated["space"])
        images = evaluated["evaluation"]["measure"]["images"]
        seed, data = evaluated["seed"], dict(evaluated["data"])
    except ConfigError as error:
        raise ConfigError(f"runs: {given}: {error}") from error
    except (TypeError, KeyError, ValueError) as error:
        raise StorageError(f"{path}: expected what hwnas evaluate was asked for: run it again") from error
    checkpoint = step_folder(own_search, "train") / CHECKPOINT
    origin = SearchedSupernet(name=space.name, run=str(run), checkpoint=str(checkpoint), space=space.config())
    own = _with_images_as_trained(replace(config, space=settings_of(space), runs=()), checkpoint)
    work = folder / f"{place}-{re.sub(r'[^A-Za-z0-9.-]+', '_', space.name)}"
    return _Run(given, seed, data, images, Supernet(own, space, own_search, work, origin))


def _with_images_as_trained(config: C, checkpoint: Path) -> C:
    """Images are cut and scaled as for the checkpoint's training, which may be otherwise than for another's."""
    trained, data = read_trained_on(checkpoint), config.data
    if trained is None or isinstance(data, NoDataConfig):
        return config
    known = {key: trained.preprocessing.get(key) for key in ("image_size", "crop_pct") if hasattr(data, key)}
    given: dict[str, Any] = {key: value for key, value in known.items() if value}
    return replace(config, data=replace(data, **given))


def _check_same_images(config: SearchStep, first: _Run, other: _Run) -> None:
    trained, others = (read_trained_on(Path(_origin(one).checkpoint)) for one in (first, other))
    if trained is not None and others is not None:
        labels = DataDescription(first.given, trained.classes, first.supernet.space.in_channels, trained.folders)
        others.check_classes(labels)
    way_out = "evaluate all on the same images"
    _check_equal(first.held_out, other.held_out, first.given, other.given, way_out)
    data = config.data
    drawn = not (isinstance(data, ImageFolderConfig) and data.root and tree_of(data).val)
    if drawn:
        _check_equal({"seed": first.seed}, {"seed": other.seed}, first.given, other.given, way_out)


def _check_equal(first: Mapping[str, Any], other: Mapping[str, Any], of: str, of_other: str, way_out: str) -> None:
    files = "data.files"
    for key in sorted(first.keys() | other.keys()):
        if key == files and not (key in first and key in other):
            continue  # Fashion-MNIST has them only where it was told its folder
        if first.get(key) != other.get(key):
            raise ConfigError(
                f"runs: other images are held out in {of} than in {of_other}: {key} is {_shown(first.get(key))} in the"
                f" first and {_shown(other.get(key))} in the second: {way_out}"
            )


def _held_out(data: Mapping[str, Any]) -> dict[str, Any]:
    return {f"data.{key}": data[key] for key in _IMAGES if key in data}


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}…"


def _origin(run: _Run) -> SearchedSupernet:
    if run.supernet.origin is None:
        raise TypeError("a supernet of several says which it is")
    return run.supernet.origin
