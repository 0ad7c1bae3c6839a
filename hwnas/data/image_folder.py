"""Class-per-folder trees of JPEG and PNG images, as three parts: in memory where they fit, else decoded lazily."""

from __future__ import annotations

import os

import numpy as np
import torch

from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import require_pillow
from hwnas.data.image_set import LabelledImages
from hwnas.data.image_tree import find_tree, list_images
from hwnas.data.lazy import BrokenImages, LazyImageSet, needed_mib
from hwnas.data.split import drawn_order, drawn_split, stratified_split
from hwnas.errors import DataError
from hwnas.progress import Progress, part

__all__ = ["read"]


def read(
    config: ImageFolderConfig, rng: np.random.Generator, progress: Progress
) -> tuple[LabelledImages, LabelledImages, LabelledImages]:
    """The training, held-out and test images; the held-out ones are drawn from the training images with `rng`.

    Raises DataError for a tree that is not as expected (see `find_tree`), an image that can't be decoded, and, with
    `in_memory`, images that need more than `memory_limit_mib`.
    """
    require_pillow(f"data={config.name}")
    tree = find_tree(config.root, config.name, config.class_count)
    paths, labels = list_images(tree.train, tree.classes)
    learn = _files(paths, labels, config)
    if tree.test is None:
        count = max(1, round(config.test_share * len(learn)))
        split = np.random.default_rng(config.split_seed)
        rows, test_rows = stratified_split(learn.labels.numpy(), count, split, "data.test_share")
        learn, test = learn.subset(rows), learn.subset(test_rows)
    else:
        test = _files(*list_images(tree.test, tree.classes), config)
    kept, held = drawn_split(learn.labels.numpy(), config.held_out, rng, "data.held_out")
    parts = [learn.subset(kept), learn.subset(held), test.subset(drawn_order(len(test)))]
    if not _in_memory(sum(map(len, parts)), config):
        return parts[0], parts[1], parts[2]
    decoded = [one.decode_all(part(progress, number, 3)) for number, one in enumerate(parts)]
    if not all(map(len, decoded)):
        raise DataError(f"{config.root}: no image of a part can be decoded; mend the tree")
    return decoded[0], decoded[1], decoded[2]


def _files(paths: list[str], labels: list[int], config: ImageFolderConfig) -> LazyImageSet:
    encoded = np.array([os.fsencode(path) for path in paths])
    return LazyImageSet(encoded, torch.tensor(labels, dtype=torch.int64), config, BrokenImages())


def _in_memory(count: int, config: ImageFolderConfig) -> bool:
    needed, size = needed_mib(count, config), config.image_size
    if config.in_memory and needed > config.memory_limit_mib:
        raise DataError(
            f"{config.root}: {count} images of {size}×{size} need {needed:.0f} MiB of memory, more than"
            f" data.memory_limit_mib={config.memory_limit_mib}: raise it, lower data.image_size, use fewer images, or"
            " set data.in_memory=false to decode them when they are needed"
        )
    return needed <= config.memory_limit_mib if config.in_memory is None else config.in_memory
