"""The report: one HTML file that needs nothing else, no network included."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from hwnas.errors import StorageError
from hwnas.files import write_text
from hwnas.report.shape import BUDGET_TOLERANCE, PREDICTION_TOLERANCE, Result, checked_targets, corrected_ms

__all__ = ["write_report"]

_CAPTIONS = {
    "front": (
        "Grey: random subnets. Blue: the best that the search found at each latency. Stars: the nets chosen for the"
        " budgets (red lines), on held-out accuracy as predicted; diamonds: the same nets at the latency that their"
        " exported files measured. The accuracy beside a budget is the file's, on the test images."
    ),
    "latency": (
        "Whole networks, measured, over the sum of their operators in the latency table. Green: within"
        f" {100 * PREDICTION_TOLERANCE:.0f} %. Stars: the chosen nets, as exported files."
    ),
    "accuracy_predictor": (
        "Subnets that the predictor was not fitted on: accuracy measured with recalibrated batch norm on held-out"
        " images over the prediction. The search needs the order to be right, which Kendall's τ measures."
    ),
    "search": (
        "The best network found so far for each device, runtime and budget, as predicted, over the networks evaluated,"
        " and how much of the final front had been found by then."
    ),
    "training": (
        "One training of the whole supernet, phase after phase. Accuracy is of the largest and the smallest subnet that"
        " the phase trains, at its end: weights as inherited, batch norm recalibrated, no fine-tuning."
    ),
}


def write_report(result: Result, plots: Mapping[str, Path], path: Path) -> Path:
    """Write the page for `result` (see `shape`) with `plots`, name to PNG, as `plots.draw_all` returns them.

    Raises HwnasError for a result without targets, StorageError for a plot that can't be read or a page that can't
    be written.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(ms=_ms, percent=_percent, size=_size, count=_count, duration=_duration, plain=_plain)
    template = environment.from_string(files("hwnas.report").joinpath("report.html.jinja").read_text(encoding="utf-8"))
    targets = [_target(target) for target in checked_targets(result)]
    content = template.render(
        result={key: result.get(key) for key in _OPTIONAL},
        targets=targets,
        summary=_summary(result, targets),
        story=" ".join(_story(result)),
        plots=[_plot(name, plot) for name, plot in plots.items()],
        budget_tolerance=BUDGET_TOLERANCE,
        prediction_tolerance=PREDICTION_TOLERANCE,
    )
    return write_text(path, content)


_OPTIONAL = (
    "title", "version", "seed", "created", "elapsed_s", "data", "supernet", "search", "accuracy_predictor", "tables",
    "provenance",
)  # fmt: skip

_SHOWN = (
    "device", "runtime", "budget_ms", "predicted_ms", "measured_ms", "drift", "accuracy_predicted", "accuracy_torch",
    "accuracy_exported", "accuracy_inherited", "accuracy_random", "parity_max_abs", "file", "bytes", "macs",
    "parameters",
)  # fmt: skip


def _target(target: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {key: target.get(key) for key in _SHOWN}
    corrected = corrected_ms(target)
    ratio = None if corrected is None else corrected / target["budget_ms"]
    return shown | {
        "corrected_ms": corrected,
        "budget_ratio": ratio,
        "met": None if ratio is None else ratio <= 1 + BUDGET_TOLERANCE,
        "prediction_error": None if corrected is None else target["predicted_ms"] / corrected - 1,
        "arch": _arch(target["arch"]),
    }


def _arch(arch: Mapping[str, Any]) -> dict[str, Any]:
    """`stages`, each a list of blocks `{"k", "e"}` that are kept and how many are left out; else the arch as text."""
    kernels, expands, depths = (arch.get(key) or [] for key in ("ks", "e", "d"))
    text = json.dumps(dict(arch))
    if not depths or len(kernels) != len(expands) or len(kernels) % len(depths):
        return {"stages": [], "resolution": arch.get("r"), "text": text}
    deepest = len(kernels) // len(depths)
    stages = []
    for stage, depth in enumerate(depths):
        first = stage * deepest
        kept = range(first, first + depth)
        stages.append({"blocks": [{"k": kernels[i], "e": expands[i]} for i in kept], "skipped": deepest - depth})
    return {"stages": stages, "resolution": arch.get("r"), "text": text}


def _summary(result: Result, targets: list[dict[str, Any]]) -> dict[str, Any]:
    verified = [target for target in targets if target["met"] is not None]
    errors = [abs(target["prediction_error"]) for target in verified]
    accuracies = [target["accuracy_torch"] for target in targets if target["accuracy_torch"] is not None]
    return {
        "targets": len(targets),
        "verified": len(verified),
        "met": sum(target["met"] for target in verified),
        "worst_error": max(errors, default=None),
        "best_accuracy": max(accuracies, default=None),
        "search_gain": _mean_gain(targets, "accuracy_inherited", "accuracy_random"),
        "finetune_gain": _mean_gain(targets, "accuracy_torch", "accuracy_inherited"),
        "kendall_tau": (result.get("accuracy_predictor") or {}).get("kendall_tau"),
        "settings": list(dict.fromkeys(f"{target['runtime']} on {target['device']}" for target in targets)),
    }


def _mean_gain(targets: list[dict[str, Any]], after: str, before: str) -> float | None:
    gains = [one[after] - one[before] for one in targets if one[after] is not None and one[before] is not None]
    return sum(gains) / len(gains) if gains else None


def _story(result: Result) -> list[str]:
    """How the nets came about, in sentences, as far as the result tells."""
    data, supernet, predictor, search = (
        result.get(key) or {} for key in ("data", "supernet", "accuracy_predictor", "search")
    )
    story = []
    if supernet:
        of = f" of {_count(supernet['subnets'])} subnets" if supernet.get("subnets") else ""
        took = f", in {_duration(supernet['train_s'])}" if supernet.get("train_s") else ""
        story.append(f"One supernet{of} ({supernet.get('space') or 'once-for-all'}) was trained once{took}.")
    if images := data.get("images"):
        story.append(
            f"It learned from {_count(images['train'])} images; {_count(images['held_out'])} others were held out for"
            f" every choice made here; the {_count(images['test'])} test images took part in none."
        )
    if supernet.get("accuracy_largest") is not None and supernet.get("accuracy_smallest") is not None:
        story.append(
            f"On held-out images its largest subnet reaches {_percent(supernet['accuracy_largest'])}, its smallest"
            f" {_percent(supernet['accuracy_smallest'])}, with the weights as inherited."
        )
    if predictor.get("trained_on"):
        story.append(f"An accuracy predictor was fitted to {_count(predictor['trained_on'])} evaluated subnets.")
    if result.get("tables"):
        story.append("Latency comes from tables of the operators, measured on each device.")
    over = f" over {_count(search['evaluations'])} subnets" if search.get("evaluations") else ""
    story.append(
        f"For each budget, a search{over} took the subnet with the highest predicted accuracy whose predicted latency"
        " fits; it was exported, compared with torch, and measured as a file in its runtime."
    )
    if tuned := sum(bool(target.get("finetuned")) for target in result["targets"]):
        story.append(f"Before that, {tuned} of {len(result['targets'])} were trained on alone for a short while.")
    return story


def _plot(name: str, path: Path) -> dict[str, str]:
    try:
        content = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise StorageError(f"report: plot {path} cannot be read ({error.strerror}); draw the plots again") from error
    kind = next((kind for kind in _CAPTIONS if name.startswith(kind)), "")
    return {"name": name, "png": content, "caption": _CAPTIONS.get(kind, name)}


def _ms(value: float | None) -> str:
    """Milliseconds, three significant digits and never fewer than two decimals below 10."""
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _percent(value: float | None, decimals: int = 2, sign: bool = False) -> str:
    return "–" if value is None else f"{100 * value:{'+' if sign else ''}.{decimals}f} %"


def _size(value: int | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1024:.0f} KiB" if value < 1 << 20 else f"{value / (1 << 20):.2f} MiB"


def _count(value: float | None) -> str:
    """1,234, 1.23 million, 3.4e+12: the form that is read fastest."""
    if value is None:
        return "–"
    if value < 1e6:
        return f"{value:,.0f}"
    for limit, name in ((1e9, "million"), (1e12, "billion")):
        if value < limit:
            return f"{value / limit * 1e3:.3g} {name}"
    return f"{value:.2g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return "–" if value is None else str(value)
