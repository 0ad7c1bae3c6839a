"""Which images a class-per-folder tree holds. Standard library only: the command line asks for class names."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import DataError

__all__ = ["ImageTree", "class_names", "find_tree", "list_images", "tree_stamp"]

EXTENSIONS = (".jpg", ".jpeg", ".png")
TRAIN, TESTS = "train", ("test", "val")


@dataclass(frozen=True)
class ImageTree:
    """`train` and `test` are folders with one subfolder a class; `test` is None where `train` is to be split."""

    train: Path
    test: Path | None
    classes: tuple[str, ...]


def find_tree(root: str | Path | None, name: str = "image_folder", class_count: int = 0) -> ImageTree:
    """The splits and classes under `root`; class names sorted, labels being their positions.

    Where both test/ and val/ are there, test/ is taken. Hidden folders and files are passed over. Raises DataError
    for a missing root, fewer than two classes, another number than `class_count` (0: any), or classes that differ
    between training and test.
    """
    expected = "a folder with train/<class>/*.jpg and test/<class>/*.jpg (or val/), or with <class>/*.jpg alone"
    if root is None or not str(root):
        raise DataError(f"data.root is not set: data={name} needs data.root=…, {expected}")
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"data.root: no folder {root}; expected {expected}")
    train = root / TRAIN
    test = next((root / name for name in TESTS if (root / name).is_dir()), None)
    if not train.is_dir():
        if test is not None:
            raise DataError(f"{root} has {test.name}/ but no {TRAIN}/; expected {expected}")
        return ImageTree(root, None, _counted(root, _classes(root, expected), name, class_count))
    if test is None:
        raise DataError(
            f"{root} has {TRAIN}/ but neither test/ nor val/; add one, or set data.root={train} to split it"
        )
    classes = _counted(train, _classes(train, expected), name, class_count)
    if classes != (tested := _classes(test, expected)):
        only_train, only_test = sorted(set(classes) - set(tested)), sorted(set(tested) - set(classes))
        raise DataError(
            f"{root}: {TRAIN}/ and {test.name}/ must have the same class folders; only in {TRAIN}/:"
            f" {_listed(only_train)}; only in {test.name}/: {_listed(only_test)}"
        )
    return ImageTree(train, test, classes)


def list_images(folder: Path, classes: tuple[str, ...]) -> tuple[list[str], list[int]]:
    """Every image below each class folder, sorted by name, and its label. Raises DataError for an empty class."""
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(
            os.path.join(parent, file)  # noqa: PTH118 - Path objects for a million files take ten times as long
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


def class_names(folders: tuple[str, ...], path: str | None) -> tuple[str, ...]:
    """The names for people of class `folders`, from the file `path`: a JSON object, or a line `folder name` each.

    The folders themselves where `path` is None. Raises DataError for an unreadable file, and for folders it lacks.
    """
    if path is None:
        return folders
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        if text.lstrip().startswith("{"):
            names = {str(folder): str(name) for folder, name in json.loads(text).items()}
        else:
            lines = (line.split(maxsplit=1) for line in text.splitlines())
            names = {parts[0]: parts[1].strip() for parts in lines if len(parts) == 2}
    except (OSError, ValueError) as error:
        raise DataError(
            f"data.class_names={path} cannot be read ({error}): expected JSON or lines `folder name`"
        ) from error
    if missing := [folder for folder in folders if folder not in names]:
        raise DataError(f"data.class_names={path} names no class for {_listed(missing)}: add a line `folder name` each")
    return tuple(names[folder] for folder in folders)


def tree_stamp(root: str | Path) -> dict[str, Any]:
    """How many files `root` holds, their bytes, and the newest modification time: changes with the data."""
    count, size, newest = 0, 0, 0.0
    folders = [os.fspath(Path(root).expanduser())]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file():
                    stat = entry.stat()
                    count, size, newest = count + 1, size + stat.st_size, max(newest, stat.st_mtime)
    return {"count": count, "bytes": size, "newest": newest}


def _classes(folder: Path, expected: str) -> tuple[str, ...]:
    names, files = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                names.append(entry.name)
            files += entry.name.lower().endswith(EXTENSIONS)
    if len(names) < 2:
        hint = f" and {files} images outside of any: move each into the folder of its class" if files else ""
        raise DataError(
            f"{folder}: expected at least two class folders, found {len(names)} ({_listed(sorted(names))}){hint};"
            f" data.root must be {expected}"
        )
    return tuple(sorted(names))


def _counted(folder: Path, classes: tuple[str, ...], name: str, count: int) -> tuple[str, ...]:
    if count and len(classes) != count:
        raise DataError(
            f"{folder}: data={name} expects {count} class folders, found {len(classes)} ({_listed(list(classes), 4)});"
            f" complete the tree ({TRAIN}/<class>/*, {' or '.join(TESTS)}/<class>/*, the same {count} folders in both),"
            " or set data.class_count=0 to take what is there"
        )
    return classes


def _listed(names: list[str], most: int = 8) -> str:
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
