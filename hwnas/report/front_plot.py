"""The plot of accuracy over latency, of one supernet or of several on the same axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from hwnas.report.shape import corrected_ms
from hwnas.report.style import BLUE, GREEN, GREY, INK, ORANGE, RED, figure, percent, style, write

__all__ = ["COLOURS", "plot_front"]

COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9")
"""Of supernets; red is the budgets'."""


def plot_front(
    fronts: Mapping[str, Any] | Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], path: Path
) -> Path:
    """Predicted accuracy over latency: random subnets, the front, budgets, and the chosen nets with what they measured.

    `fronts` is an entry of `result["front"]`, or one for each of several supernets, each then in a colour of its own;
    `targets` the targets of the same device and runtime.
    """
    fronts = [fronts] if isinstance(fronts, Mapping) else fronts
    with style():
        drawn, axes = figure("Accuracy and latency", f"{fronts[0]['runtime']} on {fronts[0]['device']}")
        for number, (front, colour) in enumerate(zip(fronts, cycle(COLOURS), strict=False)):
            random, pareto = front["random"], front["pareto"]
            axes.scatter(
                random["latency_ms"],
                random["accuracy"],
                s=9,
                color=GREY if len(fronts) == 1 else colour,
                alpha=0.55 if len(fronts) == 1 else 0.25,
                lw=0,
                label="random, predicted" if number == 0 else None,
            )
            order = np.argsort(pareto["latency_ms"])
            latency, accuracy = np.array(pareto["latency_ms"])[order], np.array(pareto["accuracy"])[order]
            axes.plot(
                latency,
                accuracy,
                color=colour,
                lw=1.6,
                marker="o",
                ms=2.5,
                drawstyle="steps-post",
                label=front.get("space", "front, predicted"),
            )
        for number, target in enumerate(targets):
            _draw_target(axes, target, labelled=number == 0)
        axes.set(xlabel="latency (ms)", ylabel="accuracy on held-out images")
        percent(axes, "y")
        axes.margins(x=0.06, y=0.1)
        # Above the axes: inside, the front runs from one corner to the other.
        axes.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), ncol=2, frameon=False, borderaxespad=0.1)
        return write(drawn, path)


def _draw_target(axes: Axes, target: Mapping[str, Any], labelled: bool) -> None:
    accuracy = target.get("accuracy_predicted")
    accuracy = target.get("accuracy_torch") if accuracy is None else accuracy
    tested = "" if target.get("accuracy_torch") is None else f": {100 * target['accuracy_torch']:.2f} %"
    axes.axvline(target["budget_ms"], color=RED, lw=1.0, ls=(0, (4, 3)), alpha=0.8)
    axes.annotate(
        f"{target['budget_ms']:.3g} ms{tested}", (target["budget_ms"], 0.02), (-3, 0),
        xycoords=("data", "axes fraction"), textcoords="offset points", rotation=90, ha="right", va="bottom",
        fontsize=8.5, color=RED, bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )  # fmt: skip
    if accuracy is None:
        return
    measured = corrected_ms(target)
    if measured is not None:
        axes.plot([target["predicted_ms"], measured], [accuracy, accuracy], color=INK, lw=1.0, zorder=3)
        axes.scatter(
            measured, accuracy, s=52, marker="D", facecolor="white", edgecolor=INK, lw=1.2, zorder=4,
            label="chosen, measured" if labelled else None,
        )  # fmt: skip
    axes.scatter(
        target["predicted_ms"], accuracy, s=130, marker="*", color=RED, zorder=5,
        label="chosen, predicted" if labelled else None,
    )  # fmt: skip
