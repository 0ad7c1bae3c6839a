"""`hwnas search`: the most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.search.step import search
from hwnas.pipeline.store.plain import to_plain
from hwnas.report.families import basis_of, family_lines

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
    if result.families:
        columns.insert(1, "space")
        rows = [(row[0], one.winner, *row[1:]) for row, one in zip(rows, result.families, strict=False)]
    more = len(result.selected) - len(rows)
    reporter.table(f"chosen networks{f', {more} more in result.json' if more else ''}", columns, rows)
    families = [to_plain(one) for one in result.families or ()]
    for line in family_lines(families[:_MOST_SHOWN]):
        reporter.say(line)
    if families:
        reporter.say(basis_of(families))
    reporter.say(f"result: {folder / 'result.json'}")
