"""What the page says in words and rows: targets with what follows from their figures, the verdict, the story."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from hwnas.report.formats import count, duration, percent
from hwnas.report.shape import BUDGET_TOLERANCE, Result, corrected_ms

__all__ = ["story_of", "summary_of", "target_row"]

_SHOWN = (
    "device", "runtime", "precision", "threads", "budget", "budget_ms", "predicted_ms", "measured_ms", "drift",
    "accuracy_predicted", "accuracy_torch", "accuracy_exported", "accuracy_inherited", "accuracy_random",
    "balanced_accuracy_exported", "parity_max_abs", "file", "bytes", "macs", "parameters",
)  # fmt: skip


def target_row(target: Mapping[str, Any]) -> dict[str, Any]:
    """A target's figures, None where missing or not finite, and what follows from them.

    `corrected_ms`, `budget_ratio` (of the corrected to the budget), `met`, `prediction_error`, `accuracy` (of the file,
    else of the network), and `arch` in stages.
    """
    shown: dict[str, Any] = {key: _finite(target.get(key)) for key in _SHOWN}
    corrected = _finite(corrected_ms(shown))
    ratio = None if corrected is None else corrected / target["budget_ms"]
    exported = shown["accuracy_exported"]
    return shown | {
        "corrected_ms": corrected,
        "budget_ratio": ratio,
        "met": None if ratio is None else ratio <= 1 + BUDGET_TOLERANCE,
        "prediction_error": None if corrected is None else target["predicted_ms"] / corrected - 1,
        "accuracy": shown["accuracy_torch"] if exported is None else exported,
        "arch": _arch(target["arch"]),
    }


def summary_of(result: Result, targets: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts, bests and means over `targets`, as `target_row` gives them; `best` are the most accurate that hold, one a
    device, and `without` the devices that have none.
    """
    verified = [target for target in targets if target["met"] is not None]
    errors = [abs(target["prediction_error"]) for target in verified]
    accuracies = [target["accuracy_torch"] for target in targets if target["accuracy_torch"] is not None]
    holding = [target for target in verified if target["met"] and target["accuracy"] is not None]
    devices = list(dict.fromkeys(target["device"] for target in targets))
    best = {
        device: max((one for one in holding if one["device"] == device), key=lambda target: target["accuracy"])
        for device in devices
        if any(one["device"] == device for one in holding)
    }
    return {
        "targets": len(targets),
        "verified": len(verified),
        "met": sum(target["met"] for target in verified),
        "missed": [target for target in verified if not target["met"]],
        "best": list(best.values()),
        "without": [device for device in devices if verified and device not in best],
        "devices": len(devices),
        "worst_error": max(errors, default=None),
        "best_accuracy": max(accuracies, default=None),
        "search_gain": _mean_gain(targets, "accuracy_inherited", "accuracy_random"),
        "finetune_gain": _mean_gain(targets, "accuracy_torch", "accuracy_inherited"),
        "kendall_tau": (result.get("accuracy_predictor") or {}).get("kendall_tau"),
        "settings": list(dict.fromkeys((target["runtime"], target["device"]) for target in targets)),
    }


def story_of(result: Result) -> list[str]:
    """How the nets came about, in sentences, as far as the result tells."""
    data, supernet, predictor, search = (
        result.get(key) or {} for key in ("data", "supernet", "accuracy_predictor", "search")
    )
    story = []
    if supernet:
        of = f" of {count(supernet['subnets'])} subnets" if supernet.get("subnets") else ""
        took = f", in {duration(supernet['train_s'])}" if supernet.get("train_s") else ""
        story.append(f"One supernet{of} ({supernet.get('space') or 'once-for-all'}) was trained once{took}.")
    if supernets := result.get("supernets") or []:
        each = [f"{one['space']} of {count(one['subnets'])} subnets in {duration(one['train_s'])}" for one in supernets]
        story.append(f"{len(supernets)} supernets were trained, and searched for the same budgets: {', '.join(each)}.")
    if images := data.get("images"):
        story.append(
            f"It learned from {count(images['train'])} images; {count(images['held_out'])} others were held out for"
            f" every choice made here; the {count(images['test'])} test images took part in none."
        )
    if supernet.get("accuracy_largest") is not None and supernet.get("accuracy_smallest") is not None:
        story.append(
            f"On held-out images its largest subnet reaches {percent(supernet['accuracy_largest'])}, its smallest"
            f" {percent(supernet['accuracy_smallest'])}, with the weights as inherited."
        )
    if predictor.get("trained_on"):
        story.append(f"An accuracy predictor was fitted to {count(predictor['trained_on'])} evaluated subnets.")
    if result.get("tables"):
        story.append("Latency comes from tables of the operators, measured on each device.")
    over = f" over {count(search['evaluations'])} subnets" if search.get("evaluations") else ""
    story.append(
        f"For each budget, a search{over} took the subnet with the highest predicted accuracy whose predicted latency"
        " fits; it was exported, compared with torch, and measured as a file in its runtime."
    )
    if tuned := sum(bool(target.get("finetuned")) for target in result["targets"]):
        story.append(f"Before that, {tuned} of {len(result['targets'])} were trained on alone for a short while.")
    return story


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _arch(arch: Mapping[str, Any]) -> dict[str, Any]:
    """`stages`, each a list of blocks `{"k", "e"}` that are kept and how many are left out; else the arch as text."""
    kernels, expands, depths = (arch.get(key) or [] for key in ("ks", "e", "d"))
    text = json.dumps(dict(arch), ensure_ascii=False)
    if not depths or len(kernels) != len(expands) or len(kernels) % len(depths):
        return {"stages": [], "resolution": arch.get("r"), "text": text, "space": arch.get("space")}
    deepest = len(kernels) // len(depths)
    stages = []
    for stage, depth in enumerate(depths):
        first = stage * deepest
        kept = range(first, first + depth)
        stages.append({"blocks": [{"k": kernels[i], "e": expands[i]} for i in kept], "skipped": deepest - depth})
    return {"stages": stages, "resolution": arch.get("r"), "text": text, "space": arch.get("space")}


def _mean_gain(targets: list[dict[str, Any]], after: str, before: str) -> float | None:
    gains = [one[after] - one[before] for one in targets if one[after] is not None and one[before] is not None]
    return sum(gains) / len(gains) if gains else None
