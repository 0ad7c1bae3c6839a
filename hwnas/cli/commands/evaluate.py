"""`hwnas evaluate`: the accuracy of a few hundred subnets, and the predictor that learns from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.evaluate import ACCURACIES, PREDICTOR, evaluate

if TYPE_CHECKING:
    pass


__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = evaluate(config, folder, reporter)
    score = result.accuracy_predictor
    figures = [(name, getattr(score, name)) for name in ("kendall_tau", "spearman", "mae")]
    rows = [(name, "–" if value is None else f"{value:.4f}") for name, value in figures]
    reporter.table(f"accuracy predictor on unseen subnets, of {result.subnets}", ("score", "value"), rows)
    reporter.say(f"predictor: {folder / PREDICTOR}; labels: {folder / ACCURACIES}")
