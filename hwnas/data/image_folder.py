"""Class-per-folder trees of images, as three parts: in memory where they fit, else decoded lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from hwnas.data.config import ImageFolderConfig
from hwnas.data.decode import require_pillow
from hwnas.data.folders import listed
from hwnas.data.image_files import ClassFolder, list_images
from hwnas.data.image_set import LabelledImages
from hwnas.data.image_tree import find_tree
from hwnas.data.lazy import BrokenImages, LazyImageSet, needed_mib
from hwnas.data.split import drawn_order, drawn_split, share_split
from hwnas.errors import DataError
from hwnas.progress import Progress, part

__all__ = ["FolderParts", "read"]


class FolderParts(NamedTuple):
    """Images of the three parts. `left_out`: how many files of which kind are no images. `notes`: that, and what else
    people should know of what is read, a line each.
    """

    train: LabelledImages
    held_out: LabelledImages
    test: LabelledImages
    left_out: Mapping[str, int]
    notes: tuple[str, ...]


def read(config: ImageFolderConfig, rng: np.random.Generator, progress: Progress) -> FolderParts:
    """The training, held-out and test images; the held-out ones are drawn from the training images with `rng`. The log
    is told the notes as well.

    Raises DataError for a tree that is not as expected (see `find_tree`, `list_images`), an image that can't be
    decoded, and, with `in_memory`, images that need more than `memory_limit_mib`.
    """
    require_pillow(f"data={config.name}")
    tree = find_tree(config.root, config.name, config.class_count)
    files = list_images(tree)
    learn = _files(files.train, config)
    if not files.test:
        count = max(1, round(config.test_share * len(learn)))
        rows, test_rows = share_split(
            learn.labels.numpy(), count, np.random.default_rng(config.split_seed), "data.test_share"
        )
        learn, test = learn.subset(rows), learn.subset(test_rows)
    else:
        test = _files(files.test, config)
    kept, held = drawn_split(learn.labels.numpy(), config.held_out, rng, tree.classes)
    parts = learn.subset(kept), learn.subset(held), test.subset(drawn_order(len(test)))
    notes = (*files.notes, *_missing(tree.classes, held_out=parts[1], test=parts[2]))
    if not _in_memory(sum(map(len, parts)), config):
        return FolderParts(*parts, files.left_out, notes)
    decoded = [one.decode_all(part(progress, number, 3)) for number, one in enumerate(parts)]
    if not all(map(len, decoded)):
        raise DataError(f"{config.root}: no image of a part can be decoded; mend the tree")
    return FolderParts(decoded[0], decoded[1], decoded[2], files.left_out, notes)


def _missing(classes: tuple[str, ...], **parts: LabelledImages) -> list[str]:
    """Which classes are too small to have an image in each part."""
    notes = []
    for name, images in parts.items():
        counts = images.labels.bincount(minlength=len(classes)).tolist()
        if absent := [each for each, count in zip(classes, counts, strict=True) if not count]:
            notes.append(f"too few images of {listed(absent)} to have one among the {name} images")
    return notes


def _files(folders: tuple[ClassFolder, ...], config: ImageFolderConfig) -> LazyImageSet:
    paths = np.array([os.fsencode(folder.path_of(image)) for folder in folders for image in folder.images])
    labels = [label for label, folder in enumerate(folders) for _ in folder.images]
    return LazyImageSet(paths, torch.tensor(labels, dtype=torch.int64), config, BrokenImages())


def _in_memory(count: int, config: ImageFolderConfig) -> bool:
    needed, size = needed_mib(count, config), config.image_size
    if config.in_memory and needed > config.memory_limit_mib:
        raise DataError(
            f"{config.root}: {count} images of {size}×{size} need {needed:.0f} MiB of memory, more than"
            f" data.memory_limit_mib={config.memory_limit_mib}: raise it, lower data.image_size, use fewer images, or"
            " set data.in_memory=false to decode them when they are needed"
        )
    return needed <= config.memory_limit_mib if config.in_memory is None else config.in_memory
