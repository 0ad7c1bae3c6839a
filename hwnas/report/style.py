"""How every plot looks: colours, fonts, sizes, and the one place that writes a figure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from hwnas.files import atomic_path

__all__ = [
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ORANGE",
    "PALE",
    "RED",
    "SIZE",
    "SOFT",
    "figure",
    "note",
    "percent",
    "style",
    "write",
]

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, SOFT, GREY, PALE = "#22272E", "#555C66", "#A3A9B2", "#F1F3F5"

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8B929C",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": "#E6E8EB",
    "grid.linewidth": 0.8,
    "legend.edgecolor": "white",
    "legend.framealpha": 0.85,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "xtick.color": "#555C66",
    "ytick.color": "#555C66",
}
_DPI = 160
SIZE = (5.8, 4.9)
"""Inches of every figure, so that text is of one size where they stand side by side."""


def style() -> AbstractContextManager[None]:
    """The settings of every plot, for the time of a `with` block."""
    return mpl.rc_context(_STYLE)


def figure(title: str, square: bool = False) -> tuple[Figure, Axes]:
    """One pair of axes with a title; `square` ones have equal scales."""
    drawn = Figure(figsize=SIZE, layout="constrained")
    axes = drawn.subplots()
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    if square:
        axes.set_aspect("equal")
    return drawn, axes


def percent(axes: Axes, side: str) -> None:
    """Label the axis `x` or `y`, in fractions, as percentages."""
    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def note(axes: Axes, lines: Sequence[str]) -> None:
    """A few figures in the upper left corner."""
    axes.annotate("\n".join(lines), (0.03, 0.97), xycoords="axes fraction", ha="left", va="top", linespacing=1.5)


def write(drawn: Figure, path: Path) -> Path:
    """Write a PNG, whole or not at all, and return its path."""
    with atomic_path(path) as temporary:
        drawn.savefig(temporary, format="png", dpi=_DPI, facecolor="white")
    return path
