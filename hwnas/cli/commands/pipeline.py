"""`hwnas run`: every step in its own folder of the run directory; those that are up to date are skipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hwnas.cli.commands import evaluate, export, finetune, profile, report, search, train, validate
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.preflight import check_run
from hwnas.cli.steps import held, read_or_none, read_result, write_result
from hwnas.errors import ConfigError
from hwnas.files import read_json, write_json
from hwnas.training.torchrun import process_counts

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    if config.training.network != "supernet":
        raise ConfigError("hwnas run searches a supernet: training.network=supernet; one network: hwnas train, export")
    if process_counts()[1] > 1:
        raise ConfigError(
            "torchrun is for hwnas train alone: train with it, then hwnas run with the same hydra.run.dir"
        )
    reporter = Reporter()
    tuning = [finetune] if config.finetune.epochs else []
    steps = {
        step.__name__.rpartition(".")[2]: step for step in (train, evaluate, profile, search, *tuning, export, validate)
    }
    with ExitStack() as holds:
        for name in steps:  # all of them: what another process did meanwhile would be of other settings
            holds.enter_context(held(folder / name))
        _check_once(config, folder, list(steps))
        for name, step in steps.items():
            step.step(config, folder / name, reporter)
            if step in (search, *tuning):
                config = replace(config, targets=str(folder / name / "result.json"))
        report.step(config, folder / "report", reporter, folder)
    result = report.collect(folder)
    path = folder / "result.json"
    if not path.exists() or read_result(path) != result:  # a run that finds everything done leaves its own time
        elapsed_s = sum(read_json(folder / name / "result.json")["elapsed_s"] for name in steps)
        write_result(folder, "run", config.seed, elapsed_s, result)
    reporter.table("chosen networks, as exported files", validate.COLUMNS, validate.table_rows(result["targets"]))
    reporter.say(f"report: {folder / 'report' / 'report.html'}")
    reporter.say(f"result: {folder / 'result.json'}")
    for target in result["targets"]:
        reporter.say(f"model:  {target['file']}")


def _check_once(config: PipelineConfig, folder: Path, steps: Sequence[str]) -> None:
    """`check_run`, unless a run with the same settings is finished: what it found is shown without its device."""
    settings, known = json.loads(json.dumps(to_plain(config))), folder / "inputs.json"
    finished = all((folder / name / "result.json").exists() for name in steps)
    if not finished or read_or_none(known) != settings:
        check_run(config, folder, steps)
        write_json(known, settings)
