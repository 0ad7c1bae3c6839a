"""Runs the few-shot predictor on hard splits, with and without the devices that teach, and tabulates both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hard_splits import HardSplit

from hwnas.latency.methods import make_method
from hwnas.latency.protocol import run_protocol
from hwnas.progress import no_progress

__all__ = ["HARD", "HARD_METHODS", "hard_table", "hard_trials"]

HARD_METHODS = ("fewshot", "features")
HARD = (
    "`likeness`: the highest rank correlation of a source with the target (phones and tables: of latency per"
    " multiplication). `features`: the same predictor without devices that teach. Splits marked `choosing` could be"
    " looked at while the predictor was made, those marked `held` were scored once, when it was finished."
)


def hard_trials(
    splits: Sequence[HardSplit], methods: Sequence[str], measurements: Sequence[int], seeds: int
) -> list[dict[str, Any]]:
    """One trial a split, method, number of measurements and seed; splits of one target share runs without devices."""
    found = []
    alone: dict[Any, list[dict[str, Any]]] = {}
    for split in splits:
        for name in methods:
            for count in measurements:
                data = split.data if name == "fewshot" else replace(split.data, train_devices=())
                key = (data.name, data.test_devices, len(data.genotypes), count)
                if name == "features" and key in alone:
                    trials = alone[key]
                else:
                    result = run_protocol(data, make_method("fewshot"), count, seeds, 0, False, no_progress)
                    trials = result.to_dict()["trials"]
                if name == "features":
                    alone[key] = trials
                where = {"split": split.name, "half": split.half, "likeness": split.likeness, "method": name}
                kept = [{key: value for key, value in trial.items() if key != "rows"} for trial in trials]
                found += [{**where, "measurements": count, **trial} for trial in kept]
    return found


def hard_table(trials: Sequence[dict[str, Any]]) -> str:
    """A row a split: rank correlation by method and measurements, and how much is in 90 % intervals."""
    keys = list(dict.fromkeys((trial["method"], trial["measurements"]) for trial in trials))
    head = ["split", "half", "likeness", *(f"{method}, {count}" for method, count in keys)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = []
    for name in dict.fromkeys(trial["split"] for trial in trials):
        own = [trial for trial in trials if trial["split"] == name]
        rows.append([_means(own, *key) for key in keys])
        cells = [f"{spearman:.3f} ({coverage:.0%})" for spearman, coverage in rows[-1]]
        lines.append("| " + " | ".join([name, own[0]["half"], f"{own[0]['likeness']:.2f}", *cells]) + " |")
    means = np.mean(rows, axis=0)
    lines.append(
        "| mean | | | " + " | ".join(f"{spearman:.3f} ({coverage:.0%})" for spearman, coverage in means) + " |"
    )
    return "\n".join(lines) + "\n"


def _means(trials: Sequence[dict[str, Any]], method: str, count: int) -> tuple[float, float]:
    own = [trial for trial in trials if (trial["method"], trial["measurements"]) == (method, count)]
    return float(np.mean([t["spearman"] for t in own])), float(np.mean([t["interval_coverage"] for t in own]))
