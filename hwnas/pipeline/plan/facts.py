"""What a plan goes by of a data set: how many images and classes, and how large the images are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwnas.data.config import DataConfig, ImageFolderConfig, describe
from hwnas.data.count import ImageCounts, count_images
from hwnas.data.image_size import shorter_sides

__all__ = ["DataFacts", "look_at"]

_LOOKED_AT = 200  # images; sizes within a folder differ little, or widely, and a plan needs their middle alone


@dataclass(frozen=True)
class DataFacts:
    """`shorter_side`: the median of the images', in pixels."""

    images: ImageCounts
    classes: int
    channels: int
    shorter_side: int


def look_at(config: DataConfig) -> DataFacts:
    """The facts of a data set; of a folder's images the headers of some are read, none is decoded.

    Raises DataError for a folder that is not as expected, and where no image there can be read.
    """
    described = describe(config)
    side = config.image_size
    if isinstance(config, ImageFolderConfig):
        side = int(np.median(shorter_sides(config, _LOOKED_AT)))
    return DataFacts(count_images(config), len(described.classes), described.channels, side)
