"""`hwnas search`: the most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.search.step import search

__all__ = ["run"]

_MOST_SHOWN = 60


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = search(config, folder, reporter)
    measured = any(entry.accuracy_measured is not None for entry in result.selected)
    columns = ["target", "budget ms", "latency ms", "predicted accuracy", *(["measured accuracy"] if measured else [])]
    rows = [
        (
            entry.id, f"{entry.budget_ms:.4g}", f"{entry.latency_ms:.4g}", f"{entry.accuracy_predicted:.4f}",
            *([f"{entry.accuracy_measured:.4f}"] if measured else []),
        )
        for entry in result.selected[:_MOST_SHOWN]
    ]  # fmt: skip
    more = len(result.selected) - len(rows)
    reporter.table(f"chosen networks{f', {more} more in result.json' if more else ''}", columns, rows)
    reporter.say(f"result: {folder / 'result.json'}")
