"""`hwnas run`: every step in its own folder of the run directory; those that are up to date are skipped."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.commands import validate
from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline import run as pipeline
from hwnas.pipeline.config import PipelineConfig

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = pipeline.run(config, folder, reporter)
    reporter.table("chosen networks, as exported files", validate.COLUMNS, validate.table_rows(result.targets))
    reporter.say(f"report: {folder / 'report' / 'report.html'}")
    reporter.say(f"result: {folder / 'result.json'}")
    for target in result.targets:
        reporter.say(f"model:  {target.file}")
