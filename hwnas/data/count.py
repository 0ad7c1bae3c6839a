"""How many images a data set has, counted without decoding one."""

from __future__ import annotations

from typing import NamedTuple

from hwnas.data import digits, fashion_mnist
from hwnas.data.config import DataConfig, FashionMnistConfig, ImageFolderConfig, tree_of
from hwnas.data.image_files import list_images
from hwnas.data.split import held_out_sizes, share_sizes
from hwnas.progress import no_progress

__all__ = ["ImageCounts", "count_images"]


class ImageCounts(NamedTuple):
    """Images to learn from, those held out, of them or of a folder (`held_out_drawn`), and those to test on."""

    train: int
    held_out: int
    test: int
    held_out_drawn: bool = True

    @property
    def calibration(self) -> int:
        """How many there are to calibrate BatchNorm on (see `ImageData.calibration`)."""
        return self.held_out if self.held_out_drawn else self.train


def count_images(config: DataConfig) -> ImageCounts:
    """What `hwnas.data.load.load_data` will find, but for images that turn out to be broken.

    Raises DataError for a folder that is not as expected (see `find_tree`, `list_images`) and for data that is not
    there and can't be fetched.
    """
    if isinstance(config, ImageFolderConfig):
        files = list_images(tree_of(config))
        sizes, tested = files.sizes("train"), files.sizes("test")
        if not files.test:
            tested = share_sizes(sizes, config.test_count(int(sizes.sum())))
            sizes = sizes - tested
        learn, test = int(sizes.sum()), int(tested.sum())
        if files.held_out:
            return ImageCounts(learn, int(files.sizes("held_out").sum()), test, held_out_drawn=False)
        if config.held_out is None:
            held_out = int(held_out_sizes(sizes).sum())
            return ImageCounts(learn - held_out, held_out, test)
    elif isinstance(config, FashionMnistConfig):
        learn, test = fashion_mnist.count(config, no_progress)
    else:
        (_, labels), (_, test_labels) = digits.read(config)
        learn, test = len(labels), len(test_labels)
    held_out = min(config.held_out or 0, learn)
    return ImageCounts(learn - held_out, held_out, test)
