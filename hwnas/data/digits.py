"""scikit-learn's handwritten digits, enlarged: a data set that is always there, for tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.data.config import DigitsConfig
from hwnas.data.split import stratified_split
from hwnas.errors import MissingExtraError

__all__ = ["read"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


def read(config: DigitsConfig) -> tuple[Arrays, Arrays]:
    """Training and test images, uint8 `[N, 1, image_size, image_size]`, each with labels int64 `[N]`."""
    try:
        from PIL import Image
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "train", "data=digits") from error
    digits = load_digits()
    size = (config.image_size, config.image_size)
    small = np.round(digits.images * (255 / 16)).astype(np.uint8)  # the values are 0 to 16
    images = np.stack([np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in small])
    labels = digits.target.astype(np.int64)
    train, test = stratified_split(labels, len(labels) // 5, np.random.default_rng(0), "digits")
    return (images[train, None], labels[train]), (images[test, None], labels[test])
