"""Which images a class-per-folder tree holds. Standard library only: the command line asks for class names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import DataError

__all__ = ["ImageTree", "find_tree", "list_images"]

EXTENSIONS = (".jpg", ".jpeg", ".png")
TRAIN, TESTS = "train", ("test", "val")


@dataclass(frozen=True)
class ImageTree:
    """`train` and `test` are folders with one subfolder a class; `test` is None where `train` is to be split."""

    train: Path
    test: Path | None
    classes: tuple[str, ...]


def find_tree(root: str | Path | None) -> ImageTree:
    """The splits and classes under `root`; class names sorted, labels being their positions.

    Where both test/ and val/ are there, test/ is taken. Hidden folders and files are passed over. Raises DataError
    for a missing root, fewer than two classes, or classes that differ between training and test.
    """
    expected = "a folder with train/<class>/*.jpg and test/<class>/*.jpg (or val/), or with <class>/*.jpg alone"
    if root is None or not str(root):
        raise DataError(f"data.root is not set: data=image_folder needs data.root=…, {expected}")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root: no folder {root}; expected {expected}")
    train = root / TRAIN
    test = next((root / name for name in TESTS if (root / name).is_dir()), None)
    if not train.is_dir():
        if test is not None:
            raise DataError(f"{root} has {test.name}/ but no {TRAIN}/; expected {expected}")
        return ImageTree(root, None, _classes(root, expected))
    if test is None:
        raise DataError(
            f"{root} has {TRAIN}/ but neither test/ nor val/; add one, or set data.root={train} to split it"
        )
    classes = _classes(train, expected)
    if classes != (tested := _classes(test, expected)):
        only_train, only_test = sorted(set(classes) - set(tested)), sorted(set(tested) - set(classes))
        raise DataError(
            f"{root}: {TRAIN}/ and {test.name}/ must have the same class folders; only in {TRAIN}/:"
            f" {_listed(only_train)}; only in {test.name}/: {_listed(only_test)}"
        )
    return ImageTree(train, test, classes)


def list_images(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """Every image below each class folder, sorted by name, and its label. Raises DataError for an empty class."""
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            Path(parent, file)
            for parent, _, files in os.walk(folder / name, followlinks=True)
            for file in files
            if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
        )
        if not found:
            raise DataError(
                f"class folder {folder / name} holds no image ({', '.join(EXTENSIONS)}): add some or remove it"
            )
        paths += found
        labels += [label] * len(found)
    return paths, labels


def _classes(folder: Path, expected: str) -> tuple[str, ...]:
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise DataError(
            f"{folder}: expected at least two class folders, found {len(names)} ({_listed(list(names))});"
            f" data.root must be {expected}"
        )
    return names


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
