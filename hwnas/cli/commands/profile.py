"""`hwnas profile`: a device measured into latency tables, one a runtime."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.profile import profile

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = profile(config, folder, reporter)
    rows = [
        (entry.runtime, entry.operators, entry.covered, _percent(entry.mape_raw), _percent(entry.mape_corrected),
         _percent(entry.mape_test_retest))
        for entry in result.tables
    ]  # fmt: skip
    columns = ("runtime", "operators", "covered", "error as summed", "error corrected", "test–retest")
    reporter.table("latency tables; errors on whole networks held out of the correction", columns, rows)
    for entry in result.tables:
        reporter.say(f"table: {folder / entry.file}")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
