"""Measured accuracies as training rows: checked, one row a network.

Shapes: N labels, U distinct networks, G genes.
"""

from __future__ import annotations

import numpy as np

from hwnas.errors import DataError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["FEWEST_ROWS", "distinct_rows"]

FEWEST_ROWS = 8


def distinct_rows(space: Space, genotypes: Genotypes, accuracies: Floats) -> tuple[Genotypes, Floats]:
    """Canonical distinct genotypes `[U, G]`, in the order in which they first occur, and their mean accuracies `[U]`.

    Raises ArchError for genotypes that are not of the space; DataError for labels that are not numbers or not
    fractions, for fewer than `FEWEST_ROWS` networks, and for labels that are all equal.
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
    if len(order) < FEWEST_ROWS:
        raise DataError(
            f"accuracy predictor: expected labels of at least {FEWEST_ROWS} different subnets, got {len(order)};"
            " evaluate more"
        )
    if np.ptp(means) < 1e-9:
        raise DataError(
            f"accuracy predictor: all {len(order)} subnets have the same accuracy {means[0]:g}, so there is nothing to"
            " learn; train the supernet longer, or evaluate on more images"
        )
    return genotypes[first[order]], means[order]
