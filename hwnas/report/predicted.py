"""What exported files make of the test images: which classes they confuse, and which images show it. N images, K
classes; everything is chosen by figures alone, so that the same predictions give the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Confused",
    "Predicted",
    "balanced_of",
    "distinct_predictions",
    "is_imbalanced",
    "predicted_of",
    "shown_images",
]

Ints = NDArray[np.int64]

IMBALANCE = 3
"""Data count as imbalanced from so many images of the largest class on for one of the smallest."""

_MOST = {"wrong": 6, "unsure": 6, "typical": 4, "pairs": 8}
_OF_ALL = 24  # examples of each kind on a page, however many files it shows: pictures are what makes it large


@dataclass(frozen=True)
class Confused:
    """Two classes: how many images of `first` were taken for `second` and the other way, and a row that shows each side
    (None where it has no image): one that was taken for the other, or else one that was not.
    """

    first: int
    second: int
    first_taken: int
    second_taken: int
    first_row: int | None
    second_row: int | None


@dataclass(frozen=True)
class Predicted:
    """A file's answers: `images` by name, their classes in `labels`, what they were `predicted` as, with which
    `probability`, each `[N]`. `classes`: K. `files`: how many share the page.
    """

    images: Sequence[str]
    labels: Ints
    predicted: Ints
    probability: NDArray[np.float64]
    classes: int
    files: int

    @cached_property
    def matrix(self) -> Ints:
        """How many images of each class (rows) were put into each, `[K, K]`."""
        flat = np.bincount(self.labels * self.classes + self.predicted, minlength=self.classes**2)
        matrix: Ints = flat.reshape(self.classes, self.classes)
        return matrix

    @property
    def images_of(self) -> Ints:
        """How many images each class has, `[K]`."""
        images: Ints = self.matrix.sum(1)
        return images

    @property
    def recall(self) -> NDArray[np.float64]:
        """Each class's share that is right, `[K]`; NaN for those without images."""
        with np.errstate(invalid="ignore"):
            share: NDArray[np.float64] = self.matrix.diagonal() / self.images_of
        return share

    def examples(self) -> dict[str, list[int]]:
        """Rows that show the file: `wrong`, the most confident first; `unsure`, right by the least; and `typical`, of
        middling confidence among the right ones of its class, for classes from the first to the last.
        """
        right = np.flatnonzero(self.labels == self.predicted)
        wrong = np.flatnonzero(self.labels != self.predicted)
        return {
            "wrong": self._by_confidence(wrong)[::-1][: self._most("wrong")].tolist(),
            "unsure": self._by_confidence(right)[: self._most("unsure")].tolist(),
            "typical": self._typical(right),
        }

    def confused(self) -> list[Confused]:
        """The pairs of classes most often taken for each other, the most first."""
        both = np.triu(self.matrix + self.matrix.T, 1)
        order = np.argsort(-both, axis=None, kind="stable")[: self._most("pairs")]
        pairs = [divmod(int(place), self.classes) for place in order if both.flat[place]]
        return [
            Confused(
                one, other, int(self.matrix[one, other]), int(self.matrix[other, one]),
                self._row_of(one, other), self._row_of(other, one),
            )
            for one, other in pairs
        ]  # fmt: skip

    def _most(self, kind: str) -> int:
        return max(1, min(_MOST[kind], _OF_ALL // max(self.files, 1)))

    def _by_confidence(self, rows: Ints) -> Ints:
        """`rows`, the least confident first."""
        return rows[np.argsort(np.nan_to_num(self.probability[rows]), kind="stable")]

    def _typical(self, right: Ints) -> list[int]:
        there = np.unique(self.labels[right])
        places = np.linspace(0, len(there) - 1, min(self._most("typical"), len(there))).round().astype(int)
        return [self._middle(right[self.labels[right] == label]) for label in there[places]]

    def _middle(self, rows: Ints) -> int:
        return int(self._by_confidence(rows)[len(rows) // 2])

    def _row_of(self, label: int, taken_for: int) -> int | None:
        mine = self.labels == label
        if len(taken := np.flatnonzero(mine & (self.predicted == taken_for))):
            return int(self._by_confidence(taken)[-1])
        if len(right := np.flatnonzero(mine & (self.predicted == label))):
            return self._middle(right)
        return int(np.flatnonzero(mine)[0]) if mine.any() else None


def distinct_predictions(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`result["predictions"]` (see `shape`), each with `targets`: its own, and those of other devices whose file in the
    same runtime gives the same answers. A network that several devices chose is shown once.
    """
    found: list[dict[str, Any]] = []
    for entry in result.get("predictions") or []:
        target = result["targets"][entry["target"]]
        for one in found:
            others = [result["targets"][number] for number in one["targets"]]
            is_new_device = target["device"] not in {other["device"] for other in others}
            if is_new_device and target["runtime"] == others[0]["runtime"] and _is_equal(one, entry):
                one["targets"].append(entry["target"])
                break
        else:
            found.append({**entry, "targets": [entry["target"]]})
    return found


def _is_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("predicted", "probability"))  # of the same images, as all are


def predicted_of(entries: Sequence[Mapping[str, Any]], classes: int, files: int = 0) -> list[Predicted]:
    """Of entries of `result["predictions"]` (see `shape`), which has so many `files` (0: these)."""
    return [
        Predicted(
            entry["image"],
            np.array(entry["label"], dtype=np.int64),
            np.array(entry["predicted"], dtype=np.int64),
            np.array(entry["probability"], dtype=np.float64),
            classes,
            files or len(entries),
        )
        for entry in entries
    ]


def shown_images(files: Sequence[Predicted]) -> list[int]:
    """The rows of all images that a page on `files`, all of the same images, has pictures of."""
    rows: set[int] = set()
    for one in files:
        rows.update(row for chosen in one.examples().values() for row in chosen)
        rows.update(row for pair in one.confused() for row in (pair.first_row, pair.second_row) if row is not None)
    return sorted(rows)


def balanced_of(recall: NDArray[np.float64]) -> float | None:
    """The mean over the classes that have images."""
    there = recall[~np.isnan(recall)]
    return float(there.mean()) if len(there) else None


def is_imbalanced(images_by_class: Mapping[str, Sequence[int]] | None) -> bool:
    """Whether in a part, `train` or `test`, the largest class has three times the images of the smallest, or more.

    Then accuracy says little of small classes, and the balanced one is shown beside it. False where nothing is known.
    """
    counts = [counts for name in ("train", "test") if (counts := (images_by_class or {}).get(name))]
    return any(max(each) >= IMBALANCE * min(each) for each in counts)
