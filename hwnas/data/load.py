"""A data set with a part of its training images held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data import digits, fashion_mnist, image_folder
from hwnas.data.class_names import shared_names
from hwnas.data.config import AugmentConfig, DataConfig, FashionMnistConfig, ImageFolderConfig, describe
from hwnas.data.image_set import ImageSet, LabelledImages
from hwnas.data.lazy import needed_mib
from hwnas.data.preprocess import Preprocessing
from hwnas.data.split import drawn_order, drawn_split
from hwnas.errors import DataError
from hwnas.progress import Progress

__all__ = ["ImageData", "ImageSet", "load_data"]

_CHUNK = 256


@dataclass(frozen=True)
class ImageData:
    """A data set in three parts: `train` to learn from; `held_out`, for the accuracy predictor and choices; `test`, to
    be used once in the end. `held_out_drawn`: whether the held-out images are drawn from the training images by the
    seed, rather than those of a folder.

    `mean` and `std` are of the pixels of `train`, a channel each, in units of the full range (0 black, 1 white).
    `crop_pct` is the share of a photograph's shorter side that its stored centre shows. `folders` are the classes'
    folders, which `classes` are names of for people. `left_out`: how many files of which kind lay among the images and
    are none. `notes`: what people should know of what was read and what was not, a line each.
    """

    name: str
    train: LabelledImages
    held_out: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: AugmentConfig
    crop_pct: float = 1.0
    folders: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    held_out_drawn: bool = True

    def __post_init__(self) -> None:
        if not self.folders:
            object.__setattr__(self, "folders", self.classes)

    @property
    def channels(self) -> int:
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        return self.train.shape[-1]

    @property
    def preprocessing(self) -> Preprocessing:
        """How stored images become network inputs."""
        return Preprocessing(self.mean, self.std, self.image_size, self.crop_pct)

    @property
    def calibration(self) -> LabelledImages:
        """What BatchNorm is calibrated on: held-out images where they are drawn from the training images, and else
        those, since a folder of few may lack classes. On val/ of grocery photographs, 296 images of 60 of 81 classes,
        two networks had 2.1 and 2.6 points less of the test images than on 600 drawn ones.
        """
        return self.held_out if self.held_out_drawn else self.train

    def split(self, name: str) -> LabelledImages:
        """`train`, `held_out` or `test`."""
        parts: Mapping[str, LabelledImages] = {"train": self.train, "held_out": self.held_out, "test": self.test}
        if name not in parts:
            raise DataError(f"data split {name!r} does not exist; valid: {', '.join(parts)}")
        return parts[name]

    def images_by_class(self) -> dict[str, list[int]]:
        """How many images of each class, in the order of labels, the parts have."""
        parts = ("train", "held_out", "test")
        return {name: list(self.split(name).class_counts(len(self.classes))) for name in parts}

    def summary(self) -> dict[str, Any]:
        """What a result says of the data, JSON-able."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "channels": self.channels,
            "image_size": self.image_size,
            "in_memory": isinstance(self.train, ImageSet),
            "images": {name: len(self.split(name)) for name in ("train", "held_out", "test")},
            "mean": list(self.mean),
            "std": list(self.std),
            "left_out": dict(self.left_out),
        }


def load_data(config: DataConfig, seed: int, progress: Progress) -> ImageData:
    """Read a data set and hold out `config.held_out` training images (None: the folder of held-out images, or else a
    share), each class in proportion, drawn with `seed`.

    The mean and deviation of pixels are those of the config, where it has them; else of all training images in memory,
    or of `config.statistics_images` of them, always the same, where they are decoded lazily. Raises DataError for what
    is missing or broken (see the readers), and where too few images remain.
    """
    rng = np.random.default_rng(seed)
    mean = std = None
    crop_pct = 1.0
    left_out: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    drawn = True
    described = describe(config)
    if isinstance(config, ImageFolderConfig):
        train, held_out, test, left_out, notes, drawn = image_folder.read(config, rng, progress)
        notes = (*notes, *shared_names(described.folders, described.classes))
        mean, std, crop_pct = config.mean, config.std, config.crop_pct
    else:
        reads = fashion_mnist.read(config, progress) if isinstance(config, FashionMnistConfig) else digits.read(config)
        (images, labels), test_arrays = reads
        kept, held = drawn_split(labels, config.held_out, rng, described.classes)
        shown = drawn_order(len(test_arrays[1]))
        train, held_out = _image_set(images, labels, kept), _image_set(images, labels, held)
        test = _image_set(*test_arrays, shown)
    if mean is None or std is None:
        mean, std = pixel_statistics(images for images, _ in _sample(train, config).batches(_CHUNK))
    return ImageData(
        name=config.name,
        train=train,
        held_out=held_out,
        test=test,
        classes=described.classes,
        mean=mean,
        std=std,
        augment=config.augment,
        crop_pct=crop_pct,
        folders=described.folders,
        left_out=left_out,
        notes=notes,
        held_out_drawn=drawn,
    )


def pixel_statistics(batches: Iterable[Tensor]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 `[B, C, H, W]`, over 255; exact but for the division.

    A channel without any variation gets standard deviation 1, so that normalising is defined. Raises DataError without
    an image.
    """
    total = squares = np.zeros((), dtype=np.int64)
    count = 0
    for batch in batches:
        part = batch.numpy().astype(np.int64)
        total = total + part.sum(axis=(0, 2, 3))
        squares = squares + (part * part).sum(axis=(0, 2, 3))
        count += len(part) * part.shape[2] * part.shape[3]
    if not count:
        raise DataError("pixel statistics: expected at least one image that can be decoded, got none")
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    std = np.where(variance > 0, np.sqrt(variance), 255)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _sample(train: LabelledImages, config: DataConfig) -> LabelledImages:
    if not isinstance(config, ImageFolderConfig):
        return train
    if isinstance(train, ImageSet) and needed_mib(len(train), config) <= config.memory_limit_mib:
        return train
    count = min(config.statistics_images, len(train))
    rows = np.sort(np.random.default_rng(0).choice(len(train), count, replace=False))
    return train.subset(rows)


def _image_set(images: NDArray[np.uint8], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> ImageSet:
    kept_images, kept_labels = (torch.from_numpy(np.ascontiguousarray(values[rows])) for values in (images, labels))
    return ImageSet(kept_images, kept_labels, rows)
