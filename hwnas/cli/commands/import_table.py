"""`hwnas import-table`: a published or foreign latency table in hwnas's own format."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.import_table import import_published

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = import_published(config, folder, reporter)
    reporter.say(f"table: {folder / result.file}: {result.operators} operators of {result.device}")
    if result.missing:
        reporter.say(
            f"{len(result.missing)} operators of space {result.space} are not among them, so that it can't be"
            f" searched with: {'; '.join(result.missing[:3])}"
        )
    else:
        reporter.say(f"it covers space {result.space}: hwnas search latency.path={folder} …")
