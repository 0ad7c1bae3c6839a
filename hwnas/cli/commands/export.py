"""`hwnas export`: chosen networks as checked model files, each in a bundle that proves itself."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.export.step import export

__all__ = ["run"]

COLUMNS = ("file", "KiB", "parity", "same class", "accuracy", "drop", "latency ms")


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = export(config, folder, reporter)
    rows = [
        (
            str(Path(file.path).parent.relative_to("deploy")), f"{file.bytes / 1024:.0f}", f"{file.parity_max_abs:.1e}",
            _cell(file.top1_agreement, ".1%"), _cell(file.accuracy, ".4f"), _cell(file.accuracy_drop, "+.4f"),
            _cell(file.latency_ms, ".4g"),
        )
        for file in result.files
    ]  # fmt: skip
    reporter.table("exported files", COLUMNS, rows)
    if config.export.inputs is None and not all(file.real_images for file in result.files):
        reporter.say(
            "parity is of noise, not of real images: give data=… to have the files checked as they will be used"
        )
    for file in result.files:
        reporter.say(f"bundle: {folder / Path(file.path).parent}")
    reporter.say(f"result: {folder / 'result.json'}")


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
