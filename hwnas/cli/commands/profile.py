"""`hwnas profile`: devices measured into latency tables, one a runtime."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.profile import TableSummary, profile

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = profile(config, folder, reporter)
    several = {
        "device": len({entry.device for entry in result.tables}) > 1,
        "threads": len({entry.threads for entry in result.tables}) > 1,
        "units": any(entry.units for entry in result.tables),
    }
    rows = [
        (*(_cell(entry, column) for column, shown in several.items() if shown), entry.runtime, entry.operators,
         entry.covered, _percent(entry.mape_raw), _percent(entry.mape_corrected), _percent(entry.mape_test_retest))
        for entry in result.tables
    ]  # fmt: skip
    columns = (
        *(column for column, shown in several.items() if shown),
        "runtime", "operators", "covered", "error as summed", "error corrected", "test–retest",
    )  # fmt: skip
    reporter.table("latency tables; errors on whole networks held out of the correction", columns, rows)
    for entry in result.tables:
        reporter.say(f"table: {folder / entry.file}")


def _cell(entry: TableSummary, column: str) -> object:
    if column == "units":
        return sum(not unit.left_out for unit in entry.units or ()) or 1
    return getattr(entry, column)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
