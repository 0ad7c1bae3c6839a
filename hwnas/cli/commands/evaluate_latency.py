"""`hwnas evaluate-latency`: predictors scored on devices that they have not seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.evaluate_latency import evaluate_latency

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = evaluate_latency(config, folder, reporter)
    rows = [(device, *_figures(scores)) for device, scores in result.per_device.items()]
    means = {
        "spearman": result.mean_spearman, "ci95": result.ci95, "kendall_tau": result.mean_kendall_tau,
        "mape": result.mape, "interval_coverage": result.interval_coverage,
    }  # fmt: skip
    rows.append(("mean", *_figures(means)))
    title = (
        f"{config.latency.format}, {result.measurements_used} measurements, {result.seeds} seeds,"
        f" {config.protocol.scaling} protocol: {result.quantity} in {result.unit}"
    )
    reporter.table(title, ("device", "Spearman", "95 %", "Kendall τ-b", "MAPE", "in 90 % interval"), rows)
    if result.hypotheses:
        reporter.say("weights: " + ", ".join(f"{name} {share:.0%}" for name, share in result.hypotheses.items()))
    for note in result.notes:
        reporter.say(f"note: {note}")
    reporter.say(f"result: {folder / 'result.json'}")


def _figures(scores: dict[str, Any]) -> tuple[str, ...]:
    low, high = scores["ci95"]
    share = tuple("–" if scores[key] is None else f"{scores[key]:.1%}" for key in ("mape", "interval_coverage"))
    return (f"{scores['spearman']:.3f}", f"{low:.3f}–{high:.3f}", f"{scores['kendall_tau']:.3f}", *share)
