"""What each exported file predicts of the test images, as CSV files, and pictures of those that a report shows.

`predictions/<target>.csv`: `image` (its path, or its number in the file of the data set), `label` and `predicted`
(names of classes), `probability` (of the predicted class, by softmax). `pictures/`: small pictures, named by digests.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import StorageError
from hwnas.files import write_bytes, write_text
from hwnas.report.predicted import predicted_of, shown_images

if TYPE_CHECKING:
    from hwnas.data.load import ImageData
    from hwnas.export.check.predict import Predictions

__all__ = ["class_labels", "find_pictures", "read_predictions", "write_pictures", "write_predictions"]

PICTURE_SIZE = 96
_COLUMNS = ["image", "label", "predicted", "probability"]
_REMEDY = "delete the step's result.json, and hwnas validate writes it again"


def class_labels(data: ImageData) -> tuple[str, ...]:
    """What the classes are called in the CSV files: their names, with the folder where two share one."""
    shared = {name for name in data.classes if data.classes.count(name) > 1}
    pairs = zip(data.classes, data.folders, strict=True)
    return tuple(f"{name} ({folder})" if name in shared else name for name, folder in pairs)


def write_predictions(folder: Path, found: Mapping[str, Predictions], data: ImageData) -> dict[str, str]:
    """Write what was `found` for each target, and return the file of each, below `folder`."""
    images, names = _names(data), class_labels(data)
    files = {}
    for target, one in found.items():
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        labels, predicted = ([names[label] for label in each.tolist()] for each in (one.labels, one.predicted))
        shares = (f"{share:.6f}" for share in one.probability.tolist())
        writer.writerows(zip(images, labels, predicted, shares, strict=True))
        files[target] = f"predictions/{target}.csv"
        write_text(folder / files[target], text.getvalue())
    return files


def read_predictions(path: Path, classes: Sequence[str]) -> dict[str, list[Any]]:
    """The columns of such a file, classes by their place in `classes`. Raises StorageError for anything else."""
    place = {name: number for number, name in enumerate(classes)}
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if next(rows, None) != _COLUMNS:
                raise ValueError(f"expected the columns {', '.join(_COLUMNS)}")
            for image, label, predicted, probability in rows:
                values = image, place[label], place[predicted], float(probability)
                for name, value in zip(_COLUMNS, values, strict=True):
                    columns[name].append(value)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise StorageError(f"{path} is not what hwnas validate wrote ({error}); {_REMEDY}") from error
    if not columns["image"]:
        raise StorageError(f"{path} holds no prediction; {_REMEDY}")
    return columns


def write_pictures(folder: Path, files: Mapping[str, str], data: ImageData) -> None:
    """Write a picture of each image that a report shows on `files`, as `write_predictions` returned them.

    Chosen from what was written: probabilities that differ by less than that tells are equal to the report.
    """
    from hwnas.data.pictures import picture

    classes = class_labels(data)
    found = predicted_of([read_predictions(folder / file, classes) for file in files.values()], len(classes))
    for row in shown_images(found):
        content, suffix = picture(data.test, row, PICTURE_SIZE, data.crop_pct)
        write_bytes(folder / "pictures" / f"{_digest(found[0].images[row])}{suffix}", content)


def find_pictures(folder: Path, images: Sequence[str]) -> dict[str, Path]:
    """The picture of each of `images` that has one in the step's `folder`."""
    there = {path.stem: path for path in sorted((folder / "pictures").glob("*"))}
    return {image: there[digest] for image in images if (digest := _digest(image)) in there}


def _names(data: ImageData) -> list[str]:
    """Of each test image, as a CSV in UTF-8 can hold it."""
    from hwnas.data.folders import printable

    origins = data.test.origins.tolist()
    return [printable(os.fsdecode(each)) if isinstance(each, bytes) else str(each) for each in origins]


def _digest(image: str) -> str:
    return hashlib.sha256(image.encode()).hexdigest()[:20]
