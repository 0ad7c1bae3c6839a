"""What stands beside each plot: what it shows for those who don't see it, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwnas.report.class_plots import CONFUSION, SIZES
from hwnas.report.shape import PREDICTION_TOLERANCE, Result, learnt_parts, named_fronts, named_settings

__all__ = ["plot_words"]

_WORDS = {
    "front": (
        "Accuracy over latency",
        "Grey: random subnets. Blue: the best that the search found at each latency. Stars: the nets chosen for the"
        " budgets (dashed lines), on held-out accuracy as predicted; diamonds: the same nets at the latency that their"
        " exported files measured. Beside a budget: what its net gets right of the test images, after"
        " fine-tuning if there was any.",
    ),
    "fronts": (
        "Accuracy over latency",
        "A colour for each supernet: pale its random subnets, the line the best that the search found in it at each"
        " latency, as its own predictor says. Stars: the nets chosen for the budgets (dashed lines), of whichever"
        " supernet won; diamonds: the same nets at the latency that their exported files measured. Beside a budget:"
        " what its net gets right of the test images, after fine-tuning if there was any.",
    ),
    "latency": (
        "Measured over predicted latency",
        "Whole networks, measured, over the sum of their operators in the latency table. Shaded: within"
        f" {100 * PREDICTION_TOLERANCE:.0f} %. Stars: the chosen nets, as exported files.",
    ),
    "accuracy_predictor": (
        "Measured over predicted accuracy",
        "Subnets that the predictor was not fitted on: accuracy measured with recalibrated batch norm on held-out"
        " images over the prediction. The search needs the order to be right, which Kendall's τ measures.",
    ),
    "search": (
        "The best so far over the networks evaluated",
        "The best network found so far for each device, runtime and budget, as predicted, over the networks evaluated,"
        " and how much of the hypervolume that the final front dominates had been found by then.",
    ),
    SIZES: (
        "Accuracy over class size",
        "Each class's accuracy on its test images over its training images, a point a class and file; lines: means of"
        " classes of like size. Rising to the right: more images of the small classes would help.",
    ),
    "training": (
        "Training loss and held-out accuracy over steps",
        "One training of the whole supernet, phase after phase. Accuracy is of the largest and the smallest subnet that"
        " the phase trains, at its end: weights as inherited, batch norm recalibrated, no fine-tuning.",
    ),
}

_CONFUSION = (
    "A row is a class, and its colours the shares of its test images that were put into each class; numbers are images."
    " Strong colours off the diagonal: classes that are taken for others."
)


def plot_words(name: str, result: Result) -> dict[str, str]:
    """`alt` and `caption` of the plot that `plots.draw_all` calls `name`."""
    for known, fronts in named_fronts(result):
        if known == name:
            return _words("fronts" if len(fronts) > 1 else "front", fronts[0])
    for known, table in named_settings("latency", result.get("tables") or []):
        if known == name:
            return _words("latency", table)
    for suffix, learnt in learnt_parts(result):
        if suffix and name.endswith(suffix) and (kind := name.removesuffix(suffix)) in _WORDS:
            title, caption = _WORDS[kind]
            return {"alt": f"{title}: {learnt['space']}", "caption": f"{learnt['space']}: {caption}"}
    if name.startswith(CONFUSION):
        target = result["targets"][int(name.removeprefix(CONFUSION)) - 1]
        of = f"{target['runtime']} on {target['device']}, {target['budget_ms']:.3g} ms"
        return {"alt": f"Confusion matrix: {of}", "caption": _CONFUSION}
    title, caption = _WORDS.get(name, (name, name))
    return {"alt": title, "caption": caption}


def _words(kind: str, entry: Mapping[str, Any]) -> dict[str, str]:
    title, caption = _WORDS[kind]
    of = f"{entry['runtime']} on {entry['device']}"
    if kind == "latency" and entry.get("space"):
        of += f", {entry['space']}"
    return {"alt": f"{title}: {of}", "caption": caption}
