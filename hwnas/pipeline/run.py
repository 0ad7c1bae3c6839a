"""Every step in its own folder of the run directory; those that are up to date are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError
from hwnas.files import read_json, write_json
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.evaluate import evaluate
from hwnas.pipeline.export.step import export
from hwnas.pipeline.finetune import finetune
from hwnas.pipeline.plain import to_plain
from hwnas.pipeline.preflight import check_run
from hwnas.pipeline.profile import profile
from hwnas.pipeline.report import collect, report
from hwnas.pipeline.search.step import search
from hwnas.pipeline.steps import held, read_or_none, read_result, write_result
from hwnas.pipeline.train import train
from hwnas.pipeline.validate import validate
from hwnas.progress import SILENT, Reporter
from hwnas.training.torchrun import process_counts

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Train, evaluate, profile, search, fine-tune, export, validate and report; what was found (see `report.collect`).

    Raises HwnasError, most of all before the first expensive step (see `hwnas.pipeline.preflight.check_run`).
    """
    if config.training.network != "supernet":
        raise ConfigError("hwnas run searches a supernet: training.network=supernet; one network: hwnas train, export")
    if process_counts()[1] > 1:
        raise ConfigError(
            "torchrun is for hwnas train alone: train with it, then hwnas run with the same hydra.run.dir"
        )
    tuning = {"finetune": finetune} if config.finetune.epochs else {}
    steps: dict[str, Callable[[PipelineConfig, Path, Reporter], Any]] = {
        "train": train, "evaluate": evaluate, "profile": profile, "search": search, **tuning, "export": export,
        "validate": validate,
    }  # fmt: skip
    with ExitStack() as holds:
        for name in steps:  # all of them: what another process did meanwhile would be of other settings
            holds.enter_context(held(folder / name))
        _check_once(config, folder, list(steps))
        for name, step in steps.items():
            step(config, folder / name, reporter)
            if name in ("search", "finetune"):
                config = replace(config, targets=str(folder / name / "result.json"))
        report(config, folder / "report", reporter, folder)
    result = collect(folder)
    path = folder / "result.json"
    if not path.exists() or read_result(path) != result:  # a run that finds everything done leaves its own time
        elapsed_s = sum(read_json(folder / name / "result.json")["elapsed_s"] for name in steps)
        write_result(folder, "run", config.seed, elapsed_s, result)
    return result


def _check_once(config: PipelineConfig, folder: Path, steps: Sequence[str]) -> None:
    """`check_run`, unless a run with the same settings is finished: what it found is shown without its device."""
    settings, known = json.loads(json.dumps(to_plain(config))), folder / "inputs.json"
    finished = all((folder / name / "result.json").exists() for name in steps)
    if not finished or read_or_none(known) != settings:
        check_run(config, folder, steps)
        write_json(known, settings)
