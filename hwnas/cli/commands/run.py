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
    by_class = result.data.get("images_by_class")
    reporter.table("chosen networks, as exported files", *validate.table(result.targets, by_class))
    reporter.say(f"report: {folder / 'report' / 'report.html'}")
    reporter.say(f"result: {folder / 'result.json'}")
    for target in result.targets:
        reporter.say(f"model:  {target.file}")
