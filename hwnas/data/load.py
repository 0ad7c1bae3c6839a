"""A data set in memory, with a part of its training images held out.

Shapes: N images, C channels, H = W = image size. Images are uint8 `[N, C, H, W]`, labels int64 `[N]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwnas.data import digits, fashion_mnist, image_folder
from hwnas.data.config import AugmentConfig, DataConfig, DigitsConfig, FashionMnistConfig, describe
from hwnas.data.preprocess import Preprocessing
from hwnas.data.split import stratified_split
from hwnas.errors import DataError
from hwnas.progress import Progress

__all__ = ["ImageData", "ImageSet", "load_data"]

_CHUNK = 1024


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels. Read it through `len` and `batch`, and a set that decodes lazily can stand in."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Images `[B, C, H, W]` and labels `[B]` at `indices` `[B]`."""
        return self.images[indices], self.labels[indices]

    def first(self, count: int) -> ImageSet:
        """The first `count` images, or all where there are fewer."""
        return ImageSet(self.images[:count], self.labels[:count])


@dataclass(frozen=True)
class ImageData:
    """A data set in three parts: `train` to learn from; `held_out`, cut from the training images, for calibration,
    the accuracy predictor and choices; `test`, to be used once in the end.

    `mean` and `std` are of the pixels of `train`, a channel each, in units of the full range (0 black, 1 white).
    """

    name: str
    train: ImageSet
    held_out: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: AugmentConfig

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        return int(self.train.images.shape[-1])

    @property
    def preprocessing(self) -> Preprocessing:
        """How stored images become network inputs."""
        return Preprocessing(self.mean, self.std, self.image_size)

    def split(self, name: str) -> ImageSet:
        """`train`, `held_out` or `test`."""
        parts: Mapping[str, ImageSet] = {"train": self.train, "held_out": self.held_out, "test": self.test}
        if name not in parts:
            raise DataError(f"data split {name!r} does not exist; valid: {', '.join(parts)}")
        return parts[name]

    def summary(self) -> dict[str, Any]:
        """What a result says of the data, JSON-able."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "channels": self.channels,
            "image_size": self.image_size,
            "images": {name: len(self.split(name)) for name in ("train", "held_out", "test")},
            "mean": list(self.mean),
            "std": list(self.std),
        }


def load_data(config: DataConfig, seed: int, progress: Progress) -> ImageData:
    """Read a data set and hold out `config.held_out` training images, each class in proportion, drawn with `seed`.

    Raises DataError for what is missing or broken (see the readers), and where too few images remain.
    """
    if isinstance(config, FashionMnistConfig):
        train, test = fashion_mnist.read(config, progress)
    elif isinstance(config, DigitsConfig):
        train, test = digits.read(config)
    else:
        train, test = image_folder.read(config, progress)
    images, labels = train
    rng = np.random.default_rng(seed)
    kept, held = stratified_split(labels, config.held_out, rng, "data.held_out")
    # Folders come class by class, and the first images of a part, which calibration takes, must be of all classes.
    kept, held = rng.permutation(kept), rng.permutation(held)
    shown = np.random.default_rng(0).permutation(len(test[1]))  # the same order whatever the seed
    mean, std = pixel_statistics(images, kept)
    return ImageData(
        name=config.name,
        train=_image_set(images[kept], labels[kept]),
        held_out=_image_set(images[held], labels[held]),
        test=_image_set(test[0][shown], test[1][shown]),
        classes=describe(config).classes,
        mean=mean,
        std=std,
        augment=config.augment,
    )


def pixel_statistics(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over `images[rows]`, divided by 255; exact but for the division.

    A channel without any variation gets standard deviation 1, so that normalising is defined.
    """
    total = np.zeros(images.shape[1], dtype=np.int64)
    squares = np.zeros_like(total)
    for start in range(0, len(rows), _CHUNK):
        part = images[rows[start : start + _CHUNK]].astype(np.int64)
        total += part.sum(axis=(0, 2, 3))
        squares += (part * part).sum(axis=(0, 2, 3))
    count = len(rows) * images.shape[2] * images.shape[3]
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0)
    std = np.where(variance > 0, np.sqrt(variance), 255)
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def _image_set(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageSet:
    return ImageSet(torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.ascontiguousarray(labels)))
