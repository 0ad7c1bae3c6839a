"""What a checkpoint says that it was trained on, held against the data that it meets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from hwnas.data.config import DataDescription, ImageFolderConfig
from hwnas.errors import CheckpointError

if TYPE_CHECKING:
    from hwnas.data.config import DataConfig
    from hwnas.data.load import ImageData

__all__ = ["TrainedOn", "as_imagenet", "read_trained_on"]

_HEADER = "hwnas"
_GREY_LEVEL = 1 / 255
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TrainedOn:
    """Classes, the folders that they came from (those of older checkpoints: the classes), and `preprocessing` as
    `hwnas.data.preprocess.Preprocessing.to_dict` gives it. `seed` drew the images that were held out.
    """

    path: Path
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    preprocessing: Mapping[str, Any]
    seed: int | None = None

    def check_classes(self, data: DataDescription) -> None:
        """Raise CheckpointError where the data's classes are others, or in another order: labels would be wrong.

        Names for people may change, the folders that they stand for may not.
        """
        if {self.folders, self.classes} & {data.folders, data.classes}:
            return
        there = _listed(sorted(set(self.folders) - set(data.folders)))
        here = _listed(sorted(set(data.folders) - set(self.folders)))
        raise CheckpointError(
            f"{self.path} was trained on {len(self.folders)} classes ({_listed(self.folders)}), and data {data.name!r}"
            f" has {len(data.folders)} ({_listed(data.folders)}): only there: {there}; only in the data: {here}; give"
            " the data that it was trained on, or train on these"
        )

    def tell_of_seed(self, seed: int, say: Callable[[str], None]) -> None:
        """Say where another seed holds other images out: scores on them are then of images that were learnt, too."""
        if self.seed is not None and self.seed != seed:
            say(
                f"{self.path} was trained with seed={self.seed}: with seed={seed} other images are held out, and some"
                " of them were trained on; accuracies on held-out images are too good"
            )

    def preprocessed(self, data: ImageData, config: DataConfig, say: Callable[[str], None]) -> ImageData:
        """`data` with the mean and deviation that the weights were trained with, unless `config` gives others.

        What differs by more than half a grey level is said: the images are others than those of the training.
        """
        mean, std = tuple(self.preprocessing["mean"]), tuple(self.preprocessing["std"])
        given = isinstance(config, ImageFolderConfig) and config.mean is not None
        differ = [
            f"{name} {_rounded(then)} there, {_rounded(now)} here"
            for name, then, now in (("mean", mean, data.mean), ("std", std, data.std))
            if len(then) == len(now) and max(abs(a - b) for a, b in zip(then, now, strict=True)) > _GREY_LEVEL / 2
        ]
        size, crop = self.preprocessing.get("image_size", 0), self.preprocessing.get("crop_pct", 1.0)
        others = [f"image_size {size} there, {data.image_size} here"] if size not in (0, data.image_size) else []
        others += [f"crop_pct {crop} there, {data.crop_pct} here"] if crop != data.crop_pct else []
        if differ or others:
            used = "; data.mean and data.std are used" if given else "; the checkpoint's mean and std are used"
            text = ", ".join([*differ, *others]) + (used if differ else "")
            say(f"{self.path} was trained with another preprocessing: {text}")
        return data if given or len(mean) != data.channels else replace(data, mean=mean, std=std)


def as_imagenet(path: Path, data: ImageData, config: DataConfig, say: Callable[[str], None]) -> ImageData:
    """`data` as networks are given it that others published for ImageNet, which say nothing of it: its mean and
    deviation, unless `config` gives others. Which is said, where they differ from the data's own.
    """
    given = isinstance(config, ImageFolderConfig) and config.mean is not None
    if given or data.channels != len(_IMAGENET_MEAN) or data.mean == _IMAGENET_MEAN:
        return data
    say(
        f"{path} says nothing of its preprocessing: mean {_rounded(_IMAGENET_MEAN)} and std {_rounded(_IMAGENET_STD)}"
        " are used, ImageNet's; for others give data.mean and data.std"
    )
    return replace(data, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)


def read_trained_on(path: Path) -> TrainedOn | None:
    """What `path` says of its training; None for files of others, which say nothing. Reads the header alone."""
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
        classes, preprocessing = tuple(header["classes"]), dict(header["preprocessing"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
    seed = (header.get("identity") or {}).get("seed")
    return TrainedOn(path, classes, tuple(header.get("folders", classes)), preprocessing, seed)


def _listed(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _rounded(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3f}" for value in values)
