"""What the page shows of predictions: a part for each file, with its pictures, and a row for each class."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import StorageError
from hwnas.report.class_plots import MATRICES, SIZES, confusion_name
from hwnas.report.predicted import Predicted, balanced_of, distinct_predictions, predicted_of, shown_images
from hwnas.report.shape import Result

__all__ = ["predicted_part"]

_TYPES = {".png": "image/png", ".jpg": "image/jpeg"}
_PATH_PARTS = 3  # of an image's path: its class, mostly, and what that lies in


def predicted_part(
    result: Result,
    targets: Sequence[Mapping[str, Any]],
    plots: Mapping[str, Any],
    pictures: Mapping[str, Path],
) -> dict[str, Any] | None:
    """`files`, `classes` (rows, the hardest first), `sizes` (a plot or None), how many `matrices` and test `images`;
    None without predictions. `targets` and `plots` are as the page shows them, `pictures` the files of images.
    """
    entries = distinct_predictions(result)
    if not entries:
        return None
    names = result["classes"]
    found = predicted_of(entries, len(names), len(result["predictions"]))
    needed = {found[0].images[row] for row in shown_images(found)}
    drawn = {name: _picture(path) for name, path in pictures.items() if name in needed}
    return {
        "files": [
            _file(_targets(entry, targets), one, names, drawn, plots.get(confusion_name(entry)))
            for entry, one in zip(entries, found, strict=True)
        ],
        "columns": [_targets(entry, targets) for entry in entries[:MATRICES]],
        "classes": _classes(result, found[:MATRICES], names),
        "sizes": plots.get(SIZES),
        "matrices": MATRICES,
        "images": len(found[0].images),
    }


def _targets(entry: Mapping[str, Any], targets: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [targets[number] for number in entry["targets"]]


def _file(
    targets: Sequence[Mapping[str, Any]], one: Predicted, names: Sequence[str], drawn: Mapping[str, str], matrix: Any
) -> dict[str, Any]:
    def tile(row: int) -> dict[str, Any]:
        image, share = one.images[row], float(one.probability[row])
        return {
            "picture": drawn.get(image),
            "image": "/".join(image.replace("\\", "/").split("/")[-_PATH_PARTS:]),
            "label": names[one.labels[row]],
            "predicted": names[one.predicted[row]],
            "right": bool(one.labels[row] == one.predicted[row]),
            "probability": share if math.isfinite(share) else None,
        }

    headings = {
        "wrong": "Wrong, and most sure of it",
        "unsure": "Right, and least sure of it",
        "typical": "Right, as is typical of their classes",
    }
    return {
        "targets": targets,
        "accuracy": float(one.matrix.diagonal().sum() / len(one.images)),
        "balanced": balanced_of(one.recall),
        "groups": [(headings[kind], [tile(row) for row in rows]) for kind, rows in one.examples().items() if rows],
        "pairs": [
            {
                "first": names[pair.first],
                "second": names[pair.second],
                "first_taken": pair.first_taken,
                "second_taken": pair.second_taken,
                "first_images": int(one.images_of[pair.first]),
                "second_images": int(one.images_of[pair.second]),
                "sides": [tile(row) for row in (pair.first_row, pair.second_row) if row is not None],
            }
            for pair in one.confused()
        ],
        "matrix": matrix,
    }


def _classes(result: Result, found: Sequence[Predicted], names: Sequence[str]) -> list[dict[str, Any]]:
    """A row a class, by the mean accuracy of the files; those without test images last."""
    by_class = (result.get("data") or {}).get("images_by_class") or {}
    trained = by_class.get("train") or [None] * len(names)
    recalls = np.stack([one.recall for one in found])
    order = np.argsort(np.nan_to_num(recalls.mean(0), nan=2.0), kind="stable")
    return [
        {
            "name": names[label],
            "trained": trained[label],
            "tested": int(found[0].images_of[label]),
            "shares": [None if math.isnan(share) else float(share) for share in recalls[:, label]],
        }
        for label in order.tolist()
    ]


def _picture(path: Path) -> str:
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise StorageError(f"report: picture {path} cannot be read ({error.strerror}); run hwnas validate") from error
    return f"data:{_TYPES[path.suffix]};base64,{content}"
