"""`hwnas validate table=FILE`: whole networks that the table was not fitted on, predicted against measured."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.asked import given_keys
from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.validate_table import PLOT, validate_table

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = validate_table(config, folder, reporter, given_keys())
    row = (
        f"{result.device} {result.setting}", result.networks, f"{result.mape:.1%}", f"{result.mape_test_retest:.1%}",
        "–" if result.spearman is None else f"{result.spearman:.3f}", f"{result.within_10_percent:.0%}",
    )  # fmt: skip
    columns = ("table", "networks", "error", "test–retest", "Spearman", "within 10 %")
    reporter.table("networks that the table has not seen, drift divided out", columns, [row])
    reporter.say(f"plot: {folder / PLOT}")
    reporter.say(f"result: {folder / 'result.json'}")
