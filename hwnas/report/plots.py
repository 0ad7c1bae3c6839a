"""Plots of a result as PNG files. `shape` says what the dicts hold; everything drawn is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray
from scipy.stats import kendalltau, spearmanr

from hwnas.report.class_plots import draw_predictions
from hwnas.report.front_plot import plot_front
from hwnas.report.shape import (
    PREDICTION_TOLERANCE,
    Result,
    checked_targets,
    corrected_ms,
    is_of,
    learnt_parts,
    named_fronts,
    named_settings,
    setting,
)
from hwnas.report.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    RED,
    SOFT,
    figure,
    note,
    percent,
    sheet,
    style,
    write,
)

__all__ = ["draw_all", "plot_accuracy_predictor", "plot_front", "plot_latency", "plot_search", "plot_training"]

_HISTORY_COLUMNS = {"id", "space", "evaluations", "latency_ms", "elapsed_s", "hypervolume", "hypervolume_reference"}
_MOST_NAMED = 8
_NARROW_NAME = 24  # letters: two of these fit beside each other


def draw_all(result: Result, folder: Path) -> dict[str, Path]:
    """Every plot that the result has data for, name to PNG in `folder`, in the order of the report."""
    targets = checked_targets(result)
    plots: dict[str, Path] = {}
    for name, fronts in named_fronts(result):
        chosen = [target for target in targets if setting(target) == setting(fronts[0])]
        plots[name] = plot_front(fronts, chosen, folder / f"{name}.png")
    for name, table in named_settings("latency", result.get("tables") or []):
        if (table.get("networks") or {}).get("measured_ms"):
            chosen = [target for target in targets if setting(target) == setting(table) and is_of(target, table)]
            plots[name] = plot_latency(table, chosen, folder / f"{name}.png")
    plots |= draw_predictions(result, folder)
    for suffix, learnt in learnt_parts(result):
        predictor = learnt.get("accuracy_predictor") or {}
        if len(predictor.get("measured") or []) > 1:
            name = f"accuracy_predictor{suffix}"
            plots[name] = plot_accuracy_predictor(predictor, folder / f"{name}.png", _of(learnt, suffix))
        history = learnt.get("history") or []
        if any(row["event"] == "steps" for row in history):
            name = f"training{suffix}"
            plots[name] = plot_training(history, folder / f"{name}.png", _of(learnt, suffix))
    if len(searched := result.get("search_history") or []):
        plots["search"] = plot_search(searched, folder / "search.png")
    return plots


def plot_latency(table: Mapping[str, Any], targets: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Measured over predicted latency of whole networks, with the diagonal and the ±10 % band.

    `table` is an entry of `result["tables"]` with `networks`, `targets` the targets of the same device and runtime.
    """
    predicted, measured = _pairs(table["networks"], "predicted_ms", "measured_ms")
    verified = [(target["predicted_ms"], ms) for target in targets if (ms := corrected_ms(target)) is not None]
    with style():
        of = ", ".join(filter(None, [f"{table['runtime']} on {table['device']}", table.get("space")]))
        drawn, axes = figure("Latency table", of, square=True)
        ends = _ends(predicted, measured, [ms for pair in verified for ms in pair])
        axes.fill_between(  # |predicted - measured| ≤ tolerance · measured
            ends, ends / (1 + PREDICTION_TOLERANCE), ends / (1 - PREDICTION_TOLERANCE),
            color=GREEN, alpha=0.12, lw=0, label=f"within {100 * PREDICTION_TOLERANCE:.0f} %",
        )  # fmt: skip
        axes.plot(ends, ends, color=INK, lw=0.9, ls="--")
        axes.scatter(predicted, measured, s=20, color=BLUE, alpha=0.75, lw=0, label="random networks")
        if verified:
            x, y = zip(*verified, strict=True)
            axes.scatter(x, y, s=110, marker="*", color=RED, zorder=3, label="chosen nets")
        error = np.abs(predicted - measured) / measured
        lines = [f"{len(measured)} networks", f"MAPE {100 * error.mean():.1f} %"]
        lines += [f"{100 * np.mean(error <= PREDICTION_TOLERANCE):.0f} % within {100 * PREDICTION_TOLERANCE:.0f} %"]
        if _varied(predicted, measured):
            lines.append(f"Spearman {spearmanr(predicted, measured).statistic:.3f}")
        note(axes, lines)
        axes.set(xlabel="predicted (ms)", ylabel="measured, drift divided out (ms)", xlim=ends, ylim=ends)
        axes.legend(loc="lower right")
        return write(drawn, path)


def plot_accuracy_predictor(predictor: Mapping[str, Any], path: Path, of: str = "") -> Path:
    """Measured over predicted accuracy of subnets that the predictor was not fitted on, with Kendall's τ.

    `predictor` is `result["accuracy_predictor"]` with at least two of `measured` and `predicted`; `of` the space, where
    there are several.
    """
    predicted, measured = _pairs(predictor, "predicted", "measured")
    tau = predictor.get("kendall_tau")
    if tau is None and _varied(predicted, measured):
        tau = float(kendalltau(predicted, measured).statistic)
    with style():
        drawn, axes = figure("Accuracy predictor, unseen subnets", of, square=True)
        ends = _ends(predicted, measured, [])
        axes.plot(ends, ends, color=INK, lw=0.9, ls="--")
        axes.scatter(predicted, measured, s=20, color=BLUE, alpha=0.75, lw=0)
        error = np.abs(predicted - measured).mean() * 100
        note(
            axes,
            [
                f"{len(measured)} subnets",
                "Kendall τ undefined" if tau is None else f"Kendall τ {tau:.2f}",
                f"mean error {error:.2f} points",
            ],
        )
        axes.set(xlabel="predicted accuracy", ylabel="measured accuracy, held-out images", xlim=ends, ylim=ends)
        percent(axes, "x")
        percent(axes, "y")
        return write(drawn, path)


def plot_training(history: Sequence[Mapping[str, Any]], path: Path, of: str = "") -> Path:
    """Training loss, and held-out accuracy of each phase's largest and smallest subnet, over all phases.

    `history` is `result["history"]`, with at least one row of `steps`. The phases stand in alternating shades, their
    names above. `of`: the space, where there are several.
    """
    steps, ends = ([row for row in history if row["event"] == event] for event in ("steps", "phase_end"))
    with style():
        drawn = sheet("Training", of)
        loss_axes, accuracy_axes = drawn.subplots(2, 1, sharex=True)
        at, loss = (np.array([row[key] for row in steps], dtype=float) for key in ("step", "loss"))
        loss_axes.plot(at, loss, color=BLUE, lw=0.7, alpha=0.3)
        loss_axes.plot(at, _smooth(loss), color=BLUE, lw=1.6)
        loss_axes.set(ylabel="training loss")
        for name, colour in (("largest", BLUE), ("smallest", ORANGE)):
            key = f"{name}_accuracy"
            if rows := [row for row in ends if row.get(key) is not None]:
                accuracy_axes.plot(
                    [row["step"] for row in rows], [row[key] for row in rows],
                    color=colour, lw=1.6, marker="o", ms=4, label=f"{name} subnet",
                )  # fmt: skip
        accuracy_axes.set(ylabel="held-out accuracy", xlabel="step")
        percent(accuracy_axes, "y")
        if ends:
            accuracy_axes.legend(loc="best")
        _shade_phases(loss_axes, steps, named=True)
        _shade_phases(accuracy_axes, steps, named=False)
        return write(drawn, path)


def plot_search(history: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """The best so far of each budget's search, and what its front dominates, over the networks evaluated.

    `history` is `result["history"]` of a search. The hypervolume is a share of each search's last.
    """
    with style():
        drawn = sheet("Search: the best so far")
        best_axes, volume_axes = drawn.subplots(2, 1, sharex=True)
        named = len(history) <= _MOST_NAMED
        for entry in history:
            (name,) = set(entry) - _HISTORY_COLUMNS or {"latency_ms"}  # where that is what is to be small
            evaluations = np.maximum(entry["evaluations"], 1)
            label = ", ".join(entry[key] for key in ("id", "space") if key in entry) if named else None
            best_axes.plot(evaluations, entry[name], lw=1.4, drawstyle="steps-post", label=label)
            volume = np.array(entry["hypervolume"], dtype=float)
            volume_axes.plot(evaluations, volume / (volume[-1] or 1.0), lw=1.4, drawstyle="steps-post")
            best_axes.set(ylabel=name)
            if name == "accuracy":
                percent(best_axes, "y")
        volume_axes.set(ylabel="hypervolume", xlabel="networks evaluated", xscale="log")
        percent(volume_axes, "y")
        # Over few decades matplotlib names every tick between them, one upon the other.
        volume_axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        volume_axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        volume_axes.xaxis.set_minor_formatter(NullFormatter())
        if named:
            widest = max(len(str(entry["id"])) + len(str(entry.get("space", ""))) for entry in history)
            columns = 2 if widest <= _NARROW_NAME else 1
            drawn.legend(loc="outside lower left", ncol=columns, fontsize=8.5)
        return write(drawn, path)


def _of(learnt: Mapping[str, Any], suffix: str) -> str:
    return str(learnt["space"]) if suffix else ""


def _shade_phases(axes: Axes, steps: Sequence[Mapping[str, Any]], named: bool) -> None:
    names = [str(row["phase"]) for row in steps]
    starts = [i for i, name in enumerate(names) if i == 0 or names[i - 1] != name]
    bounds = [float(steps[i]["step"]) for i in starts] + [float(steps[-1]["step"])]
    bounds[0] = min(bounds[0], 0.0)
    for number, start in enumerate(starts):
        left, right = bounds[number], bounds[number + 1]
        if number % 2:
            axes.axvspan(left, right, color=PALE, lw=0, zorder=0)
        if named:
            # Three rows of names: short phases have no room beside each other.
            axes.annotate(
                names[start], ((left + right) / 2, 1.0), (0, 2 + 10 * (number % 3)), xycoords=("data", "axes fraction"),
                textcoords="offset points", ha="center", va="bottom", fontsize=8.5, color=SOFT,
            )  # fmt: skip
    room = 0.01 * (bounds[-1] - bounds[0]) or 1.0
    axes.set_xlim(bounds[0] - room, bounds[-1] + room)


def _varied(*columns: NDArray[np.float64]) -> bool:
    """Whether a rank correlation is defined."""
    return all(len(np.unique(column)) > 1 for column in columns)


def _pairs(source: Mapping[str, Any], first: str, second: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(source[first], dtype=float), np.array(source[second], dtype=float)


def _ends(first: NDArray[np.float64], second: NDArray[np.float64], more: Sequence[float]) -> NDArray[np.float64]:
    values = np.concatenate([first, second, np.array(more, dtype=float)])
    margin = 0.06 * (values.max() - values.min()) or 0.06 * abs(values.max()) or 1.0
    return np.array([values.min() - margin, values.max() + margin])


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A running median over a fiftieth of the values, which keeps the steps between phases sharp."""
    half = max(1, len(values) // 100)
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
