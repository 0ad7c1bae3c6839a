"""Dividing a labelled set so that every class keeps its share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["drawn_order", "drawn_split", "held_out_sizes", "share_sizes", "share_split", "stratified_split"]

_HELD_OUT_SHARE, _MOST_HELD_OUT = 0.15, 5000
_SPARED = 2  # images that a class keeps to learn from, before it must give one to be held out


def stratified_split(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator, key: str, classes: Sequence[str] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices that stay and `count` indices drawn without replacement, both rising.

    Each class gives in proportion to its size; places left over by rounding down go to the largest remainders, ties
    to the lower label. Raises DataError, naming the config `key` and the smallest class, where one would be left with
    nothing.
    """
    sizes = np.bincount(labels)
    if not 0 < count < len(labels):
        raise DataError(f"{key}: expected 1 to {len(labels) - 1} of {len(labels)} images, got {count}")
    given = _in_proportion(sizes, count)
    if np.any(emptied := (sizes > 0) & (given >= sizes)):
        label = int(np.flatnonzero(emptied)[0])
        called = f" ({classes[label]})" if classes else ""
        raise DataError(
            f"{key}: taking {count} of {len(labels)} images leaves a class of {sizes[label]} without any{called};"
            " take fewer or add images to that class"
        )
    return _drawn(labels, given, rng)


def share_split(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator, key: str, spared: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `stratified_split` of about `count`, which nobody asked for: each class keeps an image, and gives one where it
    has more than `spared`. Raises DataError, naming the config `key`, where none can be given.
    """
    given = _shares(np.bincount(labels), count, spared)
    if not given.any():
        raise DataError(
            f"{key}: {len(labels)} images, one a class, cannot be divided: expected three a class or more, to learn"
            " from, to be held out and to test on; add images"
        )
    return _drawn(labels, given, rng)


def drawn_split(
    labels: NDArray[np.int64], count: int | None, rng: np.random.Generator, classes: Sequence[str] = ()
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What training keeps and what is held out, both in drawn order: `stratified_split` of `count`; None is
    `share_split` of 15 %, at most 5000 and at least 2, that spares classes of two.

    Folders come class by class, and the first images of a part, which calibration takes, must be of all classes.
    """
    if count is None:
        kept, held = share_split(labels, _held_out_count(len(labels)), rng, "data.held_out", _SPARED)
    else:
        kept, held = stratified_split(labels, count, rng, "data.held_out", classes)
    if min(len(kept), len(held)) < 2:
        raise DataError(
            f"data.held_out: expected at least 2 images to learn from and 2 to hold out, got {len(kept)} and"
            f" {len(held)}: add images"
        )
    return rng.permutation(kept), rng.permutation(held)


def held_out_sizes(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many images `drawn_split` of None holds out of each class of so many."""
    return _shares(sizes, _held_out_count(int(sizes.sum())), _SPARED)


def share_sizes(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many images `share_split` of `count` takes of each class of so many."""
    return _shares(sizes, count, spared=1)


def _held_out_count(images: int) -> int:
    return min(_MOST_HELD_OUT, max(2, round(_HELD_OUT_SHARE * images)))


def drawn_order(count: int) -> NDArray[np.int64]:
    """An order of `count` test images, the same whatever the seed of the run; why: see `drawn_split`."""
    return np.random.default_rng(0).permutation(count)


def _shares(sizes: NDArray[np.int64], count: int, spared: int) -> NDArray[np.int64]:
    most = np.maximum(sizes - 1, 0)
    # The first so many of a thousand classes in the order of their names may all be of one kind.
    mixed = np.random.default_rng(0).permutation(len(sizes)) if count < len(sizes) else None
    given = _in_proportion(sizes, min(count, int(sizes.sum())), mixed)
    clipped: NDArray[np.int64] = np.clip(given, np.where(sizes > spared, 1, 0), most)
    return clipped


def _in_proportion(sizes: NDArray[np.int64], count: int, ties: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """`count` in all; places left over go to the largest remainders, equal ones by `ties` or to the lower label."""
    exact = sizes * count / sizes.sum()
    given: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.arange(len(sizes)) if ties is None else ties
    for label in np.lexsort((order, given - exact))[: count - int(given.sum())]:
        given[label] += 1
    return given


def _drawn(
    labels: NDArray[np.int64], given: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    chosen = np.zeros(len(labels), dtype=bool)
    for label, number in enumerate(given):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[:number]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
