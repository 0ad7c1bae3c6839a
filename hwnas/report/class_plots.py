"""Plots of what files make of each class: confusion matrices, and accuracy by the number of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import (
    FixedFormatter,
    FixedLocator,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
    StrMethodFormatter,
    SymmetricalLogLocator,
)
from numpy.typing import NDArray

from hwnas.report.predicted import Predicted, distinct_predictions, predicted_of
from hwnas.report.shape import Result
from hwnas.report.style import BLUE, GREEN, GREY, INK, ORANGE, RED, figure, percent, style, write

__all__ = [
    "CONFUSION",
    "MATRICES",
    "SIZES",
    "confusion_name",
    "draw_predictions",
    "plot_class_sizes",
    "plot_confusion",
    "short_names",
]

MATRICES = 8
"""So many files have a matrix and a column of the classes' table."""

CONFUSION = "confusion-"
"""How the names of matrices begin."""

SIZES = "class_sizes"
"""The name of the plot by class size."""

_COUNTED, _LABELLED, _NAMES_UP_TO = 12, 24, 16
_BINS = 6
_COLOURS = (BLUE, ORANGE, GREEN, RED, INK, GREY, "#CC79A7", "#56B4E9")
_SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#9CC7E2", BLUE, "#00324F"])


def draw_predictions(result: Result, folder: Path) -> dict[str, Path]:
    """The plots of `result["predictions"]`, name to PNG in `folder`; none where there are no predictions."""
    entries = distinct_predictions(result)
    if not entries:
        return {}
    classes, plots = result["classes"], {}
    shown = predicted_of(entries, len(classes))[:MATRICES]
    titles = [_title([result["targets"][number] for number in entry["targets"]]) for entry in entries]
    for entry, one, title in zip(entries, shown, titles, strict=False):
        name = confusion_name(entry)
        plots[name] = plot_confusion(one, classes, title, folder / f"{name}.png")
    trained = ((result.get("data") or {}).get("images_by_class") or {}).get("train") or []
    if len(set(trained)) > 1:
        plots[SIZES] = plot_class_sizes(shown, trained, titles, folder / f"{SIZES}.png")
    return plots


def confusion_name(entry: Mapping[str, Any]) -> str:
    """The name of the matrix of an entry of `result["predictions"]`."""
    return f"{CONFUSION}{entry['target'] + 1}"


def plot_confusion(one: Predicted, classes: Sequence[str], of: str, path: Path) -> Path:
    """What each class's images (rows) were put into, as shares of the row; of many classes the most confused alone."""
    kept = _most_confused(one)
    matrix = one.matrix[np.ix_(kept, kept)]
    shares = matrix / np.maximum(one.images_of[kept], 1)[:, None]
    part = "" if len(kept) == one.classes else f", the {len(kept)} most confused of {one.classes} classes"
    with style():
        drawn, axes = figure(f"Confusion{part}", of)
        # The square root, for a few images of a hundred to be seen.
        axes.imshow(shares, cmap=_SHADES, norm=PowerNorm(0.5, 0, 1), aspect="equal", interpolation="nearest")
        names = short_names([classes[label] for label in kept])
        size = 8.0 if len(kept) <= _COUNTED else 6.2
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(range(len(kept))))
            axis.set_major_formatter(FixedFormatter(names))
            axis.set_minor_locator(NullLocator())
        upright = max(map(len, names)) > 2
        axes.tick_params(axis="x", rotation=90 if upright else 0, labelsize=size, length=0)
        axes.tick_params(axis="y", labelsize=size, length=0)
        axes.grid(visible=False)
        axes.set(xlabel="predicted", ylabel="true class")
        if len(kept) <= _COUNTED:
            for row, column in np.argwhere(matrix > 0):
                axes.annotate(
                    _number(int(matrix[row, column])), (column, row), ha="center", va="center", fontsize=7,
                    color="white" if shares[row, column] > 0.35 else INK,
                )  # fmt: skip
        return write(drawn, path)


def plot_class_sizes(files: Sequence[Predicted], trained: Sequence[int], titles: Sequence[str], path: Path) -> Path:
    """Each class's accuracy over how many images of it were learnt from, and, for each of `files`, the mean of classes
    of like size.
    """
    counts = np.array(trained, dtype=float)
    with style():
        drawn, axes = figure("Accuracy by class size")
        for one, title, colour in zip(files, titles, _COLOURS, strict=False):
            there = ~np.isnan(one.recall)
            axes.scatter(counts[there], one.recall[there], s=11, color=colour, alpha=0.3, lw=0)
            middle, mean = _means(counts[there], one.recall[there])
            axes.plot(middle, mean, color=colour, lw=1.6, marker="o", ms=3.5, label=title)
        if counts.max() >= 10 * max(counts.min(), 1):
            axes.set_xscale("symlog", linthresh=1)  # a class may have none
            axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=1, subs=[1, 2, 5]))
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlim(0.8 * counts.min(), 1.2 * counts.max())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set(xlabel="training images of the class", ylabel="accuracy on its test images", ylim=(-0.04, 1.04))
        percent(axes, "y")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        drawn.legend(loc="outside lower left", fontsize=7.5, ncol=1)
        return write(drawn, path)


def _most_confused(one: Predicted) -> NDArray[np.int64]:
    """The classes to show: all of few; else those with the largest share of images on the wrong side, in order."""
    if one.classes <= _LABELLED:
        return np.arange(one.classes)
    wrong = one.matrix - np.diag(one.matrix.diagonal())
    order = np.argsort(-(wrong + wrong.T), axis=None, kind="stable")
    labels = np.stack(np.divmod(order, one.classes), axis=1).reshape(-1)
    _, first = np.unique(labels, return_index=True)
    return np.sort(labels[np.sort(first)[:_LABELLED]])


def _means(counts: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The middles of up to six groups of classes of like size, equally many in each, and the means of their shares."""
    order = np.argsort(counts, kind="stable")
    groups = [part for part in np.array_split(order, min(_BINS, len(np.unique(counts)))) if len(part)]
    return np.array([counts[part].mean() for part in groups]), np.array([shares[part].mean() for part in groups])


def short_names(names: Sequence[str]) -> list[str]:
    """On one line, of long ones the start and the end; from where they differ on where that would make them alike."""
    whole = [" ".join(name.split()) for name in names]
    short = [_cut(name) for name in whole]
    shown = []
    for name, cut in zip(whole, short, strict=True):
        alike = [other for other, one in zip(whole, short, strict=True) if one == cut]
        shown.append(cut if len(alike) == 1 else _from(name, len(commonprefix(alike))))  # noqa: RUF071 - no paths
    return shown


def _cut(name: str) -> str:
    return name if len(name) <= _NAMES_UP_TO else f"{name[: _NAMES_UP_TO - 7]}…{name[-6:]}"


def _from(name: str, place: int) -> str:
    rest = name[max(0, place - 3) :]
    return f"…{rest}" if len(rest) < _NAMES_UP_TO else f"…{rest[: _NAMES_UP_TO - 2]}…"


def _number(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _title(targets: Sequence[Mapping[str, Any]]) -> str:
    first, *others = targets
    more = f" and {len(others)} more device{'s' if len(others) > 1 else ''}" if others else ""
    return f"{first['runtime']} on {first['device']}, {first['budget_ms']:.3g} ms{more}"
