"""`hwnas onboard`: a latency predictor for a new device, from a few measurements of it."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.onboard import PREDICTOR, onboard

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = onboard(config, folder, reporter)
    reporter.say(
        f"expected error: {result.expected_mape:.1%} after {result.measurements_used} measurements"
        + (" (the error asked for is met)" if result.stopped_early else "")
    )
    if result.check_mape is not None:
        reporter.say(f"measured error: {result.check_mape:.1%} on {result.check_networks} other networks")
    reporter.say(f"predictor: {folder / PREDICTOR}; search with latency=fewshot latency.path={folder / PREDICTOR}")
