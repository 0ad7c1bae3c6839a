"""Class-per-folder trees of JPEG and PNG images, decoded into memory by Pillow."""

from __future__ import annotations

import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.data.config import ImageFolderConfig
from hwnas.data.image_tree import find_tree, list_images
from hwnas.data.split import stratified_split
from hwnas.errors import DataError, MissingExtraError
from hwnas.progress import Progress

__all__ = ["decode", "read"]

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]

_CHUNK = 64
_MIB = 1 << 20


def read(config: ImageFolderConfig, progress: Progress) -> tuple[Arrays, Arrays]:
    """Training and test images, uint8 `[N, 3, image_size, image_size]`, each with labels int64 `[N]`.

    Raises DataError for a tree that is not as expected (see `find_tree`), an image that can't be decoded, and images
    that need more than `memory_limit_mib`.
    """
    tree = find_tree(config.root)
    paths, labels = list_images(tree.train, tree.classes)
    split = len(paths)
    if tree.test is not None:
        test_paths, test_labels = list_images(tree.test, tree.classes)
        paths, labels = paths + test_paths, labels + test_labels
    needed_mib = len(paths) * 3 * config.image_size**2 / _MIB
    if needed_mib > config.memory_limit_mib:
        raise DataError(
            f"{config.root}: {len(paths)} images of {config.image_size}×{config.image_size} need {needed_mib:.0f} MiB"
            f" of memory, more than data.memory_limit_mib={config.memory_limit_mib}: raise it, lower data.image_size,"
            " or use fewer images"
        )
    images = _decode_all(paths, config, progress)
    answer = np.array(labels, dtype=np.int64)
    if tree.test is not None:
        return (images[:split], answer[:split]), (images[split:], answer[split:])
    count = max(1, round(config.test_share * len(paths)))
    train, test = stratified_split(answer, count, np.random.default_rng(config.split_seed), "data.test_share")
    return (images[train], answer[train]), (images[test], answer[test])


def decode(path: Path, size: int) -> NDArray[np.uint8]:
    """One image as uint8 RGB `[3, size, size]`: upright, shorter side resized to `size`, centre cut out.

    Grey images get three equal channels, 16-bit ones their high byte; what is transparent becomes white. Raises
    DataError that names the file.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves the resize enough to average over.
            opened.draft("RGB", (2 * size, 2 * size))
            image: Image.Image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            image = ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BILINEAR)
    # Pillow's decoders raise all of these for files that are cut short or no images.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"image {path} cannot be decoded ({error}): replace or remove it") from error
    planes: NDArray[np.uint8] = np.moveaxis(np.asarray(image), 2, 0)
    return planes


def _decode_all(paths: list[Path], config: ImageFolderConfig, progress: Progress) -> NDArray[np.uint8]:
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Pillow", "train", "data=image_folder") from error
    images = np.empty((len(paths), 3, config.image_size, config.image_size), dtype=np.uint8)

    def fill(start: int) -> int:
        for row, path in enumerate(paths[start : start + _CHUNK], start):
            images[row] = decode(path, config.image_size)
        return min(start + _CHUNK, len(paths))

    # Threads: Pillow lets go of the interpreter while it decodes and resizes.
    pool = ThreadPoolExecutor(config.workers or os.cpu_count() or 1)
    try:
        for done in pool.map(fill, range(0, len(paths), _CHUNK)):
            progress(done / len(paths), f"decoded {done} of {len(paths)} images")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return images
