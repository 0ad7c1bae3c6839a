"""Which data set, and what is known of it without reading images. Imports neither torch nor Pillow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from hwnas.data.class_names import class_names
from hwnas.data.image_tree import ImageTree, find_tree
from hwnas.errors import ConfigError, choices

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "DataConfig",
    "DataDescription",
    "DigitsConfig",
    "FashionMnistConfig",
    "ImageFolderConfig",
    "NoDataConfig",
    "describe",
    "tree_of",
]

FASHION_MNIST_SIZE = 28
FASHION_MNIST_CLASSES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class AugmentConfig:
    """What may be done to a training image without changing its class.

    `flip`: mirrored left to right with probability 1/2. `crop_padding`: moved by up to so many pixels in both
    directions, black coming in. `erase_probability`: share of images of which a random rectangle of 2 to 20 % of the
    area is blackened (Zhong et al., 2017).

    `crop_scale`: what is cut out is a random rectangle instead (Szegedy et al., 2015), its area this share of the
    photograph's, from least to most, its width `crop_ratio` times its height; where images are decoded lazily, out of
    the whole photograph. `brightness`, `contrast`, `saturation`: each changed by a factor between 1 - x and 1 + x.

    `rand_operations`: so many of RandAugment's operations (Cubuk et al., 2020; see `hwnas.data.rand_augment`), drawn
    for each image, of strength `rand_magnitude` of 30. `mixup` and `cutmix` put two images of a batch into one, whose
    label is both of theirs, each by its share (see `hwnas.data.mixing`): the share is drawn from Beta(x, x), where x is
    above 0. `mixup` blends them (Zhang et al., 2018), `cutmix` pastes a rectangle of one into the other (Yun et al.,
    2019); where both are on, each image gets either with probability 1/2.
    """

    flip: bool = True
    crop_padding: int = 2
    erase_probability: float = 0.0
    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    rand_operations: int = 0
    rand_magnitude: int = 9
    mixup: float = 0.0
    cutmix: float = 0.0

    @staticmethod
    def preset(name: str) -> AugmentConfig:
        """One of `PRESETS`, for photographs. Raises ConfigError for another name."""
        if name not in PRESETS:
            raise ConfigError(f"data.augment={name}: {choices(name, PRESETS)}")
        return PRESETS[name]

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ConfigError(f"data.augment.crop_padding: expected 0 (none) or more pixels, got {self.crop_padding}")
        if self.crop_scale is not None:
            if len(self.crop_scale) != 2 or not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
                raise ConfigError(
                    "data.augment.crop_scale: expected null, or the least and the most share of the area such as"
                    f" [0.08, 1], got {list(self.crop_scale)}"
                )
            if self.crop_padding:
                raise ConfigError(
                    f"data.augment: crop_scale {list(self.crop_scale)} excludes crop_padding, got {self.crop_padding}:"
                    " set crop_padding to 0 or crop_scale to null"
                )
        if len(self.crop_ratio) != 2 or not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ConfigError(
                f"data.augment.crop_ratio: expected the least and the most width / height such as [0.75, 1.333], got"
                f" {list(self.crop_ratio)}"
            )
        for key in ("brightness", "contrast", "saturation"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"data.augment.{key}: expected 0 (unchanged) to below 1, got {getattr(self, key)}")
        if not 0 <= self.erase_probability <= 1:
            raise ConfigError(f"data.augment.erase_probability: expected 0 to 1, got {self.erase_probability}")
        if not 0 <= self.rand_operations <= 14:
            raise ConfigError(
                f"data.augment.rand_operations: expected 0 (none) to 14 an image, such as 2, got {self.rand_operations}"
            )
        if not 0 <= self.rand_magnitude <= 30:
            raise ConfigError(f"data.augment.rand_magnitude: expected 0 to 30, such as 9, got {self.rand_magnitude}")
        for key, usual in (("mixup", 0.2), ("cutmix", 1.0)):
            if not 0 <= getattr(self, key) < float("inf"):
                raise ConfigError(
                    f"data.augment.{key}: expected 0 (none) or more, such as {usual}, got {getattr(self, key)}"
                )


PRESETS = {
    # Half the area and more: the object stays in the picture, whatever the photograph.
    "light": AugmentConfig(crop_padding=0, crop_scale=(0.5, 1.0)),
    # Colours as once-for-all trains ImageNet with them (Cai et al., 2020): 32 of 255, and a half.
    "medium": AugmentConfig(crop_padding=0, crop_scale=(0.25, 1.0), brightness=32 / 255, saturation=0.5),
    # RandAugment's own choice for ResNet-50 on ImageNet, and the alphas of mixup's and CutMix's ImageNet results.
    # Its operations change the colours; the crops are larger than ImageNet's .08, since networks here are small.
    "strong": AugmentConfig(crop_padding=0, crop_scale=(0.2, 1.0), rand_operations=2, mixup=0.2, cutmix=1.0),
}
"""What `data.augment=NAME` stands for: all settings of AugmentConfig, for photographs of any size."""


@dataclass(frozen=True)
class FashionMnistConfig:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28×28 grey (Xiao et al., 2017; MIT).

    `root` is a folder with the four IDX files, gzipped or not; None searches for them (see `fashion_mnist.find`).
    Images are stored as they are, 28×28, and `prepare` resizes them to a network's resolution, so that the garment
    fills the input. `image_size` above 28 pads with black instead, which spends pixels on nothing: a small net on
    24×24 inputs reached 90.0, 90.2, 89.4 % held-out accuracy without and 89.2, 89.8, 89.5 % with padding to 32
    (three seeds); on 32×32 inputs there was no difference to see. `held_out` training images are kept for calibration
    and selection.
    """

    name: str = "fashion_mnist"
    root: str | None = None
    image_size: int = FASHION_MNIST_SIZE
    held_out: int = 5000
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    licence: str | None = "MIT"

    def __post_init__(self) -> None:
        _check(self, "fashion_mnist", smallest=FASHION_MNIST_SIZE)


@dataclass(frozen=True)
class ImageFolderConfig:
    """A folder of images that Pillow reads, one subfolder a class, under `root`/train and `root`/test (or val).

    Where `root` holds class folders and no train/, `test_share` of each class, drawn with `split_seed`, becomes the
    test set: always the same images, whatever the seed of the run. `held_out` images are kept from training, for
    calibration and selection. Null takes `root`/val where there is a test/ beside it, whatever classes it has images
    of; else 15 % of the training images, at most 5000, and from each class at least one where that leaves two to learn
    from. A number draws so many from the training images; val/ is then not read. Images become RGB, upright as their
    EXIF says; the centre square, its side `crop_pct` of the shorter side, is resized to `image_size` (bilinear,
    antialiased).

    Decoded images are kept on disk, where they need at most `cache_mib` (0: never), and mapped from there by every step
    of every run at the same `image_size` and `crop_pct`, in `$HWNAS_IMAGE_CACHE` or `~/.cache/hwnas/images`; the
    longest unused make room for others. `in_memory`: where they don't fit, decoded once and kept as uint8 (true), or
    anew each time by worker processes, which serves trees of any size and cuts random crops from the whole photograph
    rather than from the stored square (false: never kept on disk either); null takes memory where the images need at
    most `memory_limit_mib`. `workers` decode in parallel; null is one a core, 0 decodes where images are used. A tree
    of any size gives the same images for any number of workers.

    `skip_broken` passes over images that can't be decoded, and names them in the log; false stops at the first.
    `class_count` classes must be there, 0 for any number. `class_names`: a file that maps folder names to names for
    people, JSON or a line `folder name` each. `mean` and `std` of the channels, in units of the full range, are
    measured where they are null: on all training images in memory, or on `statistics_images` of them. `licence` of
    the images is written into what is deployed.
    """

    name: str = "image_folder"
    root: str | None = None
    image_size: int = 32
    held_out: int | None = None
    test_share: float = 0.15
    split_seed: int = 0
    crop_pct: float = 1.0
    in_memory: bool | None = None
    memory_limit_mib: int = 2048
    cache_mib: int = 4096
    workers: int | None = None
    skip_broken: bool = False
    class_count: int = 0
    class_names: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    statistics_images: int = 2000
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(crop_padding=4))
    licence: str | None = None

    def __post_init__(self) -> None:
        _check(self, self.name, smallest=8)
        if not self.name:
            raise ConfigError("data.name: expected a name for the data set, got an empty one")
        if not 0 < self.test_share < 1:
            raise ConfigError(f"data.test_share: expected a share between 0 and 1, got {self.test_share}")
        if not 0 < self.crop_pct <= 1:
            raise ConfigError(f"data.crop_pct: expected a share above 0 and up to 1, got {self.crop_pct}")
        for key, least in (
            ("split_seed", 0), ("class_count", 0), ("memory_limit_mib", 1), ("cache_mib", 0), ("statistics_images", 1),
        ):  # fmt: skip
            if getattr(self, key) < least:
                raise ConfigError(f"data.{key}: expected {least} or more, got {getattr(self, key)}")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"data.workers: expected null (one a core), 0 or more, got {self.workers}")
        if (self.mean is None) != (self.std is None):
            raise ConfigError("data.mean and data.std: expected both, or null for both to have them measured")
        for key, least_value in (("mean", 0.0), ("std", 1e-6)):
            values = getattr(self, key)
            if values is not None and (len(values) != 3 or not all(least_value <= value <= 1 for value in values)):
                raise ConfigError(
                    f"data.{key}: expected three numbers, red, green and blue, {'above ' if key == 'std' else ''}0 to 1"
                    f" (the full range is 1), got {list(values)}"
                )

    @property
    def worker_count(self) -> int:
        """`workers` with null resolved."""
        return (os.cpu_count() or 1) if self.workers is None else self.workers

    def test_count(self, images: int) -> int:
        """About how many of so many images are tested on where there is no test set."""
        return max(1, round(self.test_share * images))


@dataclass(frozen=True)
class DigitsConfig:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey, enlarged to `image_size`: small, for tests.

    A fifth of each class, always the same, is the test set. `root` must be None.
    """

    name: str = "digits"
    root: str | None = None
    image_size: int = 32
    held_out: int = 300
    augment: AugmentConfig = field(default_factory=lambda: AugmentConfig(flip=False))
    licence: str | None = None

    def __post_init__(self) -> None:
        _check(self, "digits", smallest=8)
        if self.root is not None:
            raise ConfigError(f"data.root: digits come with scikit-learn and take no folder, got {self.root!r}")


@dataclass(frozen=True)
class NoDataConfig:
    """No images: enough for `hwnas export module=…` alone. Files are then compared with torch on noise.

    `image_size` and `channels` of the network's input, the size in pixels or as [height, width]; `mean` and `std` of
    the channels, in units of the full range, that it expects (null: 0 and 1).
    """

    name: str = "none"
    image_size: Any = 224
    channels: int = 3
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        if self.name != "none":
            raise ConfigError(f"data.name: expected 'none', got {self.name!r}; choose a data set with data=…")
        sizes = self.image_size if isinstance(self.image_size, (list, tuple)) else (self.image_size,) * 2
        if len(sizes) != 2 or any(type(size) is not int or size < 1 for size in sizes):
            raise ConfigError(
                f"data.image_size: expected 1 or more pixels, or [height, width] such as [96, 160], got"
                f" {self.image_size!r:.80}"
            )
        if self.channels < 1:
            raise ConfigError(f"data.channels: expected 1 or more, such as 3 (red, green, blue), got {self.channels}")
        for key in ("mean", "std"):
            values = getattr(self, key)
            if values is not None and (len(values) != self.channels or (key == "std" and min(values) <= 0)):
                raise ConfigError(f"data.{key}: expected {self.channels} numbers, one a channel, got {list(values)}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.image_size if isinstance(self.image_size, (list, tuple)) else (self.image_size,) * 2
        return height, width

    @property
    def channel_mean(self) -> tuple[float, ...]:
        """`mean` with null resolved."""
        return self.mean or (0.0,) * self.channels

    @property
    def channel_std(self) -> tuple[float, ...]:
        """`std` with null resolved."""
        return self.std or (1.0,) * self.channels


DataConfig = FashionMnistConfig | ImageFolderConfig | DigitsConfig
"""A set of images."""


@dataclass(frozen=True)
class DataDescription:
    """What a network must be made for: class names in the order of their labels, and colour channels.

    `folders` are the classes' folders, which `classes` are names of for people; the same where no file names them.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    folders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.folders:
            object.__setattr__(self, "folders", self.classes)


def describe(config: DataConfig) -> DataDescription:
    """The classes and channels of a data set; reads no image. Raises DataError for a folder without classes."""
    if isinstance(config, ImageFolderConfig):
        folders = tree_of(config).classes
        return DataDescription(config.name, class_names(folders, config.class_names), channels=3, folders=folders)
    if isinstance(config, FashionMnistConfig):
        return DataDescription(config.name, FASHION_MNIST_CLASSES, channels=1)
    return DataDescription(config.name, tuple("0123456789"), channels=1)


def tree_of(config: ImageFolderConfig) -> ImageTree:
    """The folder's splits and classes. Raises what `find_tree` does."""
    return find_tree(config.root, config.name, config.class_count, config.held_out)


def _check(config: DataConfig, name: str, smallest: int) -> None:
    if config.name != name:
        raise ConfigError(
            f"data.name: expected {name!r}, got {config.name!r}; choose a data set with"
            " data=fashion_mnist, data=image_folder, data=imagenet or data=digits"
        )
    from_space = isinstance(config, ImageFolderConfig) and config.image_size == 0
    if config.image_size < smallest and not from_space:
        raise ConfigError(f"data.image_size: expected at least {smallest} pixels for {name}, got {config.image_size}")
    if config.held_out is not None and config.held_out < 2:
        raise ConfigError(
            "data.held_out: expected at least 2 training images to hold out (batch norm is calibrated on them), got"
            f" {config.held_out}"
        )
