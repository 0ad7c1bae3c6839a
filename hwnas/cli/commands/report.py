"""`hwnas report`: plots and one HTML page from the result files of a run."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.report import report

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    report(config, folder, reporter)
    reporter.say(f"report: {folder / 'report.html'}")
