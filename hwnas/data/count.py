"""How many images a data set has, counted without decoding one."""

from __future__ import annotations

from typing import NamedTuple

from hwnas.data import digits, fashion_mnist
from hwnas.data.config import DataConfig, FashionMnistConfig, ImageFolderConfig
from hwnas.data.image_files import list_images
from hwnas.data.image_tree import find_tree
from hwnas.data.split import held_out_count
from hwnas.progress import no_progress

__all__ = ["ImageCounts", "count_images"]


class ImageCounts(NamedTuple):
    """Images to learn from, those held out of them, and those to test on."""

    train: int
    held_out: int
    test: int


def count_images(config: DataConfig) -> ImageCounts:
    """What `hwnas.data.load.load_data` will find, but for images that turn out to be broken.

    Raises DataError for a folder that is not as expected (see `find_tree`, `list_images`) and for data that is not
    there and can't be fetched.
    """
    if isinstance(config, ImageFolderConfig):
        files = list_images(find_tree(config.root, config.name, config.class_count))
        learn, test = (sum(len(folder.images) for folder in part) for part in (files.train, files.test))
        if not files.test:
            test = max(1, round(config.test_share * learn))
            learn -= test
    elif isinstance(config, FashionMnistConfig):
        learn, test = fashion_mnist.count(config, no_progress)
    else:
        (_, labels), (_, test_labels) = digits.read(config)
        learn, test = len(labels), len(test_labels)
    held_out = held_out_count(learn) if config.held_out is None else min(config.held_out, learn)
    return ImageCounts(learn - held_out, held_out, test)
