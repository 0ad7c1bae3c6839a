"""How every plot looks: colours, fonts, sizes, and the one place that writes a figure."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
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
    "SOFT",
    "figure",
    "note",
    "percent",
    "sheet",
    "style",
    "write",
]

# Okabe and Ito's colours, told apart by colour-blind readers and in grey print.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
INK, SOFT, GREY, PALE = "#22272E", "#555C66", "#7F8791", "#F1F3F5"

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#8B929C",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#E6E8EB",
    "grid.linewidth": 0.8,
    "legend.edgecolor": "white",
    "legend.framealpha": 0.85,
    "legend.fontsize": 9,
    "text.color": INK,
    "text.parse_math": False,  # a name may hold dollar signs
    "xtick.color": "#555C66",
    "ytick.color": "#555C66",
}
# For names in letters that DejaVu lacks, where one of these is installed; else they show as boxes.
_FURTHER = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Noto Sans Devanagari",
    "Noto Sans Thai", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "PingFang SC", "Hiragino Sans", "Arial Unicode MS",
)  # fmt: skip
_DPI = 220
_SIZE = (4.2, 4.1)
"""Inches of every figure, so that text is of one size where they stand side by side, and can be read on a phone."""
_TITLE_WIDTH = 38  # letters that fit a figure


def style() -> AbstractContextManager[None]:
    """The settings of every plot, for the time of a `with` block."""
    installed = set(get_font_names())
    return mpl.rc_context(_STYLE | {"font.family": ["DejaVu Sans", *(name for name in _FURTHER if name in installed)]})


def sheet(title: str, of: str = "") -> Figure:
    """An empty figure under a title and what it is `of`."""
    drawn = Figure(figsize=_SIZE, layout="constrained")
    lines = [line for part in (title, of) for line in wrap(part, _TITLE_WIDTH)]
    drawn.suptitle("\n".join(lines), x=0.02, ha="left", size=11, weight="bold")
    return drawn


def figure(title: str, of: str = "", square: bool = False) -> tuple[Figure, Axes]:
    """A sheet with one pair of axes; `square` ones have equal scales."""
    drawn = sheet(title, of)
    axes = drawn.subplots()
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
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
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing")  # the page has the name in letters
        drawn.savefig(temporary, format="png", dpi=_DPI, facecolor="white")
    return path
