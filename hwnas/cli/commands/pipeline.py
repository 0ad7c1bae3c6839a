"""`hwnas run`: every step in its own folder of the run directory; those that are up to date are skipped."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from hwnas.cli.commands import evaluate, export, finetune, profile, report, search, train, validate
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.steps import write_result
from hwnas.errors import ConfigError
from hwnas.training.torchrun import process_counts

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    if config.training.network != "supernet":
        raise ConfigError("hwnas run searches a supernet: training.network=supernet; one network: hwnas train, export")
    if process_counts()[1] > 1:
        raise ConfigError(
            "torchrun is for hwnas train alone: train with it, then hwnas run with the same hydra.run.dir"
        )
    reporter, started = Reporter(), time.monotonic()
    tuning = [finetune] if config.finetune.epochs else []
    for step in (train, evaluate, profile, search, *tuning, export, validate):
        name = step.__name__.rpartition(".")[2]
        step.step(config, folder / name, reporter)
        if step in (search, *tuning):
            config = replace(config, targets=str(folder / name / "result.json"))
    report.step(config, folder / "report", reporter, folder)
    result = report.collect(folder)
    write_result(folder, "run", config.seed, time.monotonic() - started, result)
    reporter.table("chosen networks, as exported files", validate.COLUMNS, validate.table_rows(result["targets"]))
    reporter.say(f"report: {folder / 'report' / 'report.html'}")
    reporter.say(f"result: {folder / 'result.json'}")
    for target in result["targets"]:
        reporter.say(f"model:  {target['file']}")
