"""Measured accuracies as training rows: checked, one row a network.

Shapes: N labels, U distinct networks, G genes.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import DataError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["FEWEST_ROWS", "checked_rows", "distinct_rows", "fewest_rows"]

FEWEST_ROWS = 8


def fewest_rows(folds: int) -> int:
    """How many networks it takes to learn from and to be scored on, in `folds` parts."""
    count = 2 * folds
    while count - -(-count // folds) < FEWEST_ROWS:
        count += 1
    return count


def checked_rows(space: Space, genotypes: Genotypes, accuracies: Floats) -> tuple[Genotypes, Floats]:
    """Canonical distinct genotypes `[U, G]`, in the order in which they first occur, and their mean accuracies `[U]`.

    Raises ArchError for genotypes that are not of the space; DataError for labels that are no numbers or no fractions.
    """
    accuracies = np.asarray(accuracies, dtype=np.float64)
    genotypes = space.canonical(space.check(genotypes))
    if accuracies.shape != (len(genotypes),):
        raise DataError(f"accuracy labels: expected {len(genotypes)}, one a genotype, got shape {accuracies.shape}")
    wrong = np.flatnonzero(~np.isfinite(accuracies))
    if len(wrong):
        raise DataError(
            f"accuracy labels: {len(wrong)} of {len(accuracies)} are not numbers, the first in row {wrong[0]}:"
            " evaluate those subnets again or leave them out"
        )
    outside = np.flatnonzero((accuracies < 0) | (accuracies > 1))
    if len(outside):
        raise DataError(
            f"accuracy labels: expected fractions from 0 to 1, got {accuracies[outside[0]]:g} in row {outside[0]};"
            " divide percentages by 100"
        )
    _, first, inverse = np.unique(genotypes, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    means = np.bincount(inverse.ravel(), weights=accuracies) / np.bincount(inverse.ravel())
    return genotypes[first[order]], means[order]


def distinct_rows(space: Space, genotypes: Genotypes, accuracies: Floats) -> tuple[Genotypes, Floats]:
    """`checked_rows`, to be learnt from.

    Raises DataError, beside what that raises, for fewer than `FEWEST_ROWS` networks, and for labels that are all equal.
    """
    rows, means = checked_rows(space, genotypes, accuracies)
    if len(rows) < FEWEST_ROWS:
        raise DataError(
            f"accuracy predictor: expected labels of at least {FEWEST_ROWS} different subnets, got {len(rows)};"
            " evaluate more"
        )
    if np.ptp(means) < 1e-9:
        raise DataError(
            f"accuracy predictor: all {len(rows)} subnets have the same accuracy {means[0]:g}, so there is nothing to"
            " learn; train the supernet longer, or evaluate on more images"
        )
    return rows, means
