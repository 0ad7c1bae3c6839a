"""Dividing a labelled set so that every class keeps its share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError

__all__ = ["drawn_order", "drawn_split", "stratified_split"]


def stratified_split(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator, key: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices that stay and `count` indices drawn without replacement, both rising.

    Each class gives in proportion to its size; places left over by rounding down go to the largest remainders, ties
    to the lower label. Raises DataError, naming the config `key`, where a class would be left with nothing.
    """
    sizes = np.bincount(labels)
    if not 0 < count < len(labels):
        raise DataError(f"{key}: expected 1 to {len(labels) - 1} of {len(labels)} images, got {count}")
    exact = sizes * count / len(labels)
    given = np.floor(exact).astype(np.int64)
    for label in np.argsort(given - exact, kind="stable")[: count - int(given.sum())]:
        given[label] += 1
    if np.any((sizes > 0) & (given >= sizes)):
        raise DataError(
            f"{key}: taking {count} of {len(labels)} images leaves a class of {sizes[sizes > 0].min()} without any;"
            " take fewer or add images to the smallest class"
        )
    chosen = np.zeros(len(labels), dtype=bool)
    for label, number in enumerate(given):
        members = np.flatnonzero(labels == label)
        chosen[rng.permutation(members)[:number]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def drawn_split(
    labels: NDArray[np.int64], count: int, rng: np.random.Generator, key: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`stratified_split`, both parts in drawn order.

    Folders come class by class, and the first images of a part, which calibration takes, must be of all classes.
    """
    kept, held = stratified_split(labels, count, rng, key)
    return rng.permutation(kept), rng.permutation(held)


def drawn_order(count: int) -> NDArray[np.int64]:
    """An order of `count` test images, the same whatever the seed of the run; why: see `drawn_split`."""
    return np.random.default_rng(0).permutation(count)
