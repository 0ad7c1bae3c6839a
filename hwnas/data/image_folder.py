"""Class-per-folder trees of images, as three parts: in memory where they fit, else decoded lazily."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.config import ImageFolderConfig, tree_of
from hwnas.data.decode import require_pillow
from hwnas.data.folders import listed, printable
from hwnas.data.image_files import ClassFolder, ImageFiles, list_images
from hwnas.data.image_set import LabelledImages
from hwnas.data.image_tree import ImageTree
from hwnas.data.lazy import BrokenImages, LazyImageSet, needed_mib
from hwnas.data.split import drawn_order, drawn_split, share_split
from hwnas.errors import DataError
from hwnas.progress import Progress, part

__all__ = ["FolderParts", "read"]

_IMBALANCED = 3


class FolderParts(NamedTuple):
    """Images of the three parts. `left_out`: how many files of which kind are no images. `notes`: that, and what else
    people should know of what is read, a line each. `held_out_drawn`: whether the held-out images are a draw from the
    training images rather than a folder's.
    """

    train: LabelledImages
    held_out: LabelledImages
    test: LabelledImages
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    held_out_drawn: bool


def read(config: ImageFolderConfig, rng: np.random.Generator, progress: Progress) -> FolderParts:
    """The training, held-out and test images; where no folder holds the held-out ones, they are drawn from the training
    images with `rng`.

    Raises DataError for a tree that is not as expected (see `find_tree`, `list_images`), an image that can't be
    decoded, and, with `in_memory`, images that need more than `memory_limit_mib`.
    """
    require_pillow(f"data={config.name}")
    tree = tree_of(config)
    files = list_images(tree)
    sizes = files.sizes("train")
    learn = _files(files, "train", config)
    if not files.test:
        rows, test_rows = share_split(
            learn.labels.numpy(),
            config.test_count(len(learn)),
            np.random.default_rng(config.split_seed),
            "data.test_share",
        )
        learn, test = learn.subset(rows), learn.subset(test_rows)
    else:
        test = _files(files, "test", config)
    drawn = not files.held_out
    if drawn:
        kept, held = drawn_split(learn.labels.numpy(), config.held_out, rng, tree.classes)
        parts = learn.subset(kept), learn.subset(held), test.subset(drawn_order(len(test)))
    else:
        val = _files(files, "held_out", config)
        _check_held_out(tree, learn, val)
        parts = (
            learn.subset(rng.permutation(len(learn))),
            val.subset(drawn_order(len(val))),
            test.subset(drawn_order(len(test))),
        )
    notes = (
        *files.notes,
        *_imbalance(sizes),
        *_missing(tree, held_out=parts[1].class_counts(len(sizes)), test=parts[2].class_counts(len(sizes))),
    )
    if not _in_memory(sum(map(len, parts)), config):
        return FolderParts(*parts, files.left_out, notes, drawn)
    decoded = [one.decode_all(part(progress, number, 3)) for number, one in enumerate(parts)]
    if not all(map(len, decoded)):
        raise DataError(f"{config.root}: no image of a part can be decoded; mend the tree")
    return FolderParts(decoded[0], decoded[1], decoded[2], files.left_out, notes, drawn)


def _check_held_out(tree: ImageTree, train: LabelledImages, val: LabelledImages) -> None:
    if min(len(train), len(val)) < 2:
        raise DataError(
            f"{printable(tree.train)} and {printable(tree.val or '')}: expected at least 2 images to learn from and 2"
            f" held out, got {len(train)} and {len(val)}: add images, or set data.held_out to a number to draw from the"
            " training images"
        )


def _imbalance(sizes: NDArray[np.int64]) -> list[str]:
    """A line where the largest class has so many times the images of the smallest that accuracy says little of it."""
    ratio = sizes.max() / sizes.min()
    if ratio < _IMBALANCED:
        return []
    times = f"{ratio:.0f}" if ratio >= 10 or ratio == round(ratio) else f"{ratio:.1f}"
    return [
        f"classes have {sizes.min()} to {sizes.max()} images (median {np.median(sizes):g}): the largest {times} times"
        " the smallest; balanced accuracy stands beside accuracy"
    ]


def _missing(tree: ImageTree, **counts: tuple[int, ...]) -> list[str]:
    """Which classes have no image in each part, and whether a folder lacks them or they are too small."""
    notes = []
    for name, of_class in counts.items():
        absent = [each for each, count in zip(tree.classes, of_class, strict=True) if not count]
        if absent and name == "held_out" and tree.val is not None:
            notes.append(
                f"{printable(tree.val.name)}/ has images of {len(of_class) - len(absent)} of {len(of_class)} classes:"
                f" how well the other {len(absent)} ({listed(absent)}) are told is not seen on held-out images"
            )
        elif absent:
            notes.append(f"too few images of {listed(absent)} to have one among the {name} images")
    return notes


def _files(files: ImageFiles, name: str, config: ImageFolderConfig) -> LazyImageSet:
    folders: tuple[ClassFolder, ...] = getattr(files, name)
    paths = np.array([os.fsencode(folder.path_of(image)) for folder in folders for image in folder.images])
    return LazyImageSet(paths, torch.from_numpy(files.labels(name)), config, BrokenImages())


def _in_memory(count: int, config: ImageFolderConfig) -> bool:
    needed, size = needed_mib(count, config), config.image_size
    if config.in_memory and needed > config.memory_limit_mib:
        raise DataError(
            f"{config.root}: {count} images of {size}×{size} need {needed:.0f} MiB of memory, more than"
            f" data.memory_limit_mib={config.memory_limit_mib}: raise it, lower data.image_size, use fewer images, or"
            " set data.in_memory=false to decode them when they are needed"
        )
    return needed <= config.memory_limit_mib if config.in_memory is None else config.in_memory
