"""Class-per-folder trees of images, as three parts: in memory where they fit, else decoded lazily."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.config import ImageFolderConfig, tree_of
from hwnas.data.decode import require_pillow
from hwnas.data.decode_all import StoredImages, decode_to_memory
from hwnas.data.folders import listed, printable
from hwnas.data.image_files import ClassFolder, ImageFiles, list_images
from hwnas.data.image_set import LabelledImages
from hwnas.data.image_tree import ImageTree
from hwnas.data.lazy import BrokenImages, LazyImageSet, needed_mib
from hwnas.data.split import drawn_order, drawn_split, share_split
from hwnas.errors import DataError
from hwnas.progress import Progress

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
    if not config.image_size:
        raise DataError("data.image_size: 0 is the largest resolution of a space, and none is here: give pixels")
    require_pillow(f"data={config.name}")
    tree = tree_of(config)
    files = list_images(tree)
    sizes = files.sizes("train")
    splits = {name: _files(files, name, config) for name in ("train", "test", "held_out") if getattr(files, name)}
    labels = splits["train"].labels.numpy()
    learn = np.arange(len(labels))
    if "test" in splits:
        tested, test = "test", np.arange(len(splits["test"]))
    else:
        tested, split_rng = "train", np.random.default_rng(config.split_seed)
        learn, test = share_split(labels, config.test_count(len(labels)), split_rng, "data.test_share")
    test = test[drawn_order(len(test))]
    drawn = "held_out" not in splits
    if drawn:
        kept, held = (learn[rows] for rows in drawn_split(labels[learn], config.held_out, rng, tree.classes))
        parts = ("train", kept), ("train", held), (tested, test)
    else:
        count = len(splits["held_out"])
        _check_held_out(tree, len(learn), count)
        parts = ("train", rng.permutation(learn)), ("held_out", drawn_order(count)), (tested, test)
    lazy = [splits[name].subset(rows) for name, rows in parts]
    notes = (
        *files.notes,
        *_imbalance(sizes),
        *_missing(tree, held_out=lazy[1].class_counts(len(sizes)), test=lazy[2].class_counts(len(sizes))),
    )
    stored = _stored(files, splits, config, progress)
    if stored is None:
        return FolderParts(lazy[0], lazy[1], lazy[2], files.left_out, notes, drawn)
    decoded = [splits[name].kept(stored[name], rows) for name, rows in parts]
    if not all(map(len, decoded)):
        raise DataError(f"{config.root}: no image of a part can be decoded; mend the tree")
    notes += _enlarged(stored.values(), sum(map(len, lazy)), config)
    return FolderParts(decoded[0], decoded[1], decoded[2], files.left_out, notes, drawn)


def _stored(
    files: ImageFiles, splits: Mapping[str, LazyImageSet], config: ImageFolderConfig, progress: Progress
) -> dict[str, StoredImages] | None:
    """The decoded images of each split: from the cache where they fit it, else in memory where they fit that; None
    where they are to be decoded when they are asked for.
    """
    count = sum(map(len, splits.values()))
    in_memory = _in_memory(count, config)
    if config.in_memory is False:
        return None
    # Shares of the bar by the number of images.
    ends = np.cumsum([len(each) for each in splits.values()]) / count
    bars = {
        name: _span(progress, float(end) - len(splits[name]) / count, float(end))
        for name, end in zip(splits, ends, strict=True)
    }
    if needed_mib(count, config) <= config.cache_mib:
        from hwnas.data.image_cache import cache_key, cached_images

        keys = {name: cache_key(getattr(files, name), config) for name in splits}
        stored: dict[str, StoredImages] = {}
        for name, each in splits.items():
            found = cached_images(each.paths, keys[name], [*keys.values()], config, bars[name])
            if found is None:
                break
            stored[name] = found
        else:
            progress(1.0, f"{count} decoded images")
            return stored
    if not in_memory:
        return None
    return {name: decode_to_memory(each.paths, config, bars[name]) for name, each in splits.items()}


def _span(progress: Progress, start: float, end: float) -> Progress:
    return lambda share, status: progress(min(1.0, start + share * (end - start)), status)


def _enlarged(stored: Iterable[StoredImages], count: int, config: ImageFolderConfig) -> tuple[str, ...]:
    """A line where images are smaller than the size in which they are kept."""
    small = [each for each in stored if each.smaller]
    if not small:
        return ()
    smaller, least = sum(each.smaller for each in small), min(each.least for each in small)
    return (
        f"{smaller} of {count} images are smaller than data.image_size={config.image_size} and are enlarged, the"
        f" smallest from {least} pixels",
    )


def _check_held_out(tree: ImageTree, train: int, val: int) -> None:
    if min(train, val) < 2:
        raise DataError(
            f"{printable(tree.train)} and {printable(tree.val or '')}: expected at least 2 images to learn from and 2"
            f" held out, got {train} and {val}: add images, or set data.held_out to a number to draw from the"
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
