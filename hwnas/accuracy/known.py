"""Accuracies that need no learning: all equal, or of every network of a space so small that all were measured.

Shapes: N architectures, U distinct measured ones, G genes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.accuracy.labels import checked_rows, fewest_rows
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Known", "equal_accuracy", "holds_whole_space"]

_EQUAL = 1e-9


class Known:
    """The model that looks measured accuracies up; elsewhere, their mean. `arrays`: rows `[U, G]` and labels `[U]`."""

    NAMES = frozenset({"known_rows", "known_labels"})

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        rows, labels = arrays["known_rows"].astype(np.int64), arrays["known_labels"].astype(np.float64)
        self._labels = {row.tobytes(): float(label) for row, label in zip(rows, labels, strict=True)}
        self._mean = float(labels.mean())

    @property
    def equal(self) -> float | None:
        """The accuracy of all networks, where it is one and the same."""
        labels = np.array(list(self._labels.values()))
        return self._mean if np.ptp(labels) < _EQUAL else None

    def predict(self, genotypes: Genotypes, with_std: bool) -> tuple[Floats, None]:  # noqa: ARG002
        """Accuracy `[N]`; there is no uncertainty. Equal accuracies come out equal to the last bit."""
        if (equal := self.equal) is not None:
            return np.full(len(genotypes), equal), None
        keys = (row.tobytes() for row in np.ascontiguousarray(genotypes, dtype=np.int64))
        return np.array([self._labels.get(key, self._mean) for key in keys], dtype=np.float64), None


def equal_accuracy(space: Space, genotypes: Genotypes, accuracies: Floats) -> float | None:
    """The accuracy of all of `genotypes` `[N, G]`, where it is one and the same. Errors as in `checked_rows`."""
    _, means = checked_rows(space, genotypes, accuracies)
    return float(means.mean()) if len(means) and np.ptp(means) < _EQUAL else None


def holds_whole_space(space: Space, genotypes: Genotypes, folds: int) -> bool:
    """Whether `genotypes` are all networks of `space`, and too few to learn from and to be scored in `folds` parts."""
    fewest = fewest_rows(folds)
    every = space.every(10 * fewest)
    return every is not None and len(every) < fewest and len(space.unique(genotypes)) == len(every)
