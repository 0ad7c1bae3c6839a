"""Every step in its own folder of the run directory; those that are up to date are skipped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError
from hwnas.files import read_json, write_json
from hwnas.pipeline.config import (
    EvaluateStep,
    ExportStep,
    FinetuneStep,
    ProfileStep,
    ReportStep,
    RunStep,
    SearchStep,
    Step,
    TrainStep,
    ValidateStep,
)
from hwnas.pipeline.evaluate import evaluate
from hwnas.pipeline.export.step import export
from hwnas.pipeline.finetune import finetune
from hwnas.pipeline.plan.fit import in_its_space
from hwnas.pipeline.plan.forecast import forecast
from hwnas.pipeline.plan.itinerary import Itinerary
from hwnas.pipeline.plan.make import DAY_S, in_time, make_plan, too_long
from hwnas.pipeline.plan.written import read_plan
from hwnas.pipeline.preflight import check_run
from hwnas.pipeline.profile import profile
from hwnas.pipeline.report import PLAN, RunResult, collect, report
from hwnas.pipeline.search.step import search
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import held, read_or_none, read_result, step_of, write_result
from hwnas.pipeline.train import train
from hwnas.pipeline.validate import validate
from hwnas.progress import SILENT, Reporter
from hwnas.training.torchrun import check_alone

__all__ = ["run"]


@step_of(RunStep)
def run(config: RunStep, folder: Path, reporter: Reporter = SILENT) -> RunResult:
    """Train, evaluate, profile, search, fine-tune, export, validate and report, each in a folder of its own.

    Raises HwnasError, most of all before the first expensive step (see `hwnas.pipeline.preflight.check_run`).

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> hwnas.run(config, "runs/mine").to_frame()["finetuned"].dtype.name
    'bool'
    """
    if config.training.network != "supernet":
        raise ConfigError("hwnas run searches a supernet: training.network=supernet; one network: hwnas train, export")
    check_alone("hwnas run")
    names = [name for name in ORDER if name != "finetune" or config.finetune.epochs]
    chosen: Path | None = None
    asked, began = config, time.monotonic()
    with ExitStack() as holds:
        for name in names:  # all of them: what another process did meanwhile would be of other settings
            holds.enter_context(held(folder / name))
        config, itinerary = _prepared(asked, folder, names, reporter)
        for name in names:
            if name == "finetune" and asked.hours is not None:
                config = in_time(asked, config, folder, names, itinerary, began)
                _keep(config, folder)
            kind, step = ORDER[name]
            own = config.part(kind)
            if name != "train" and hasattr(own, "checkpoint"):
                # The later steps take the run's own supernet, whatever its training started from.
                own = replace(own, checkpoint=None)  # type: ignore[call-arg]
            if chosen is not None:
                own = replace(own, targets=str(chosen))  # type: ignore[call-arg]  # what follows a search has targets
            with itinerary.at(name):
                step(own, folder / name, itinerary)
            if name in ("search", "finetune"):
                chosen = folder / name / "result.json"
        report(ReportStep(seed=config.seed, name=config.name, folder=str(folder)), folder / "report", reporter)
    result = collect(folder)
    path = folder / "result.json"
    if not path.exists() or read_result(path) != to_plain(result):  # where everything was done before, its time stays
        elapsed_s = sum(read_json(folder / name / "result.json")["elapsed_s"] for name in names)
        write_result(folder, "run", config.seed, elapsed_s, result)
    return result


ORDER: dict[str, tuple[type[Step], Callable[[Step, Path, Reporter], Any]]] = {
    "train": (TrainStep, train),
    "evaluate": (EvaluateStep, evaluate),
    "profile": (ProfileStep, profile),
    "search": (SearchStep, search),
    "finetune": (FinetuneStep, finetune),
    "export": (ExportStep, export),
    "validate": (ValidateStep, validate),
}
"""The steps one after another, each with what it is asked for. Fine-tuning is left out where it has no epochs."""


def _prepared(asked: RunStep, folder: Path, names: Sequence[str], reporter: Reporter) -> tuple[RunStep, Itinerary]:
    """The settings, planned where `asked` for, and the steps with their times, said where any is ahead, after
    `check_run`. A finished run with the same settings is shown without its device, and nothing is measured.
    """
    config = asked if asked.hours is None else read_plan(asked, folder)
    known = folder / "inputs.json"
    before = read_or_none(known)
    if config is None:
        check_run(in_its_space(asked), folder, names, reporter)
        config, seconds = make_plan(asked, folder, names, reporter)
        ahead = list(names)
    else:
        settings = json.loads(json.dumps(config.settings()))
        ahead = _ahead(settings, before if isinstance(before, dict) else {}, folder, names)
        if ahead or before != settings:
            check_run(config, folder, names, reporter)
        seconds = forecast(config, folder, ahead)
    _keep(config, folder)
    itinerary = Itinerary(reporter, {name: seconds.get(name, 0.0) for name in names})
    if ahead:
        itinerary.announce()
        if asked.hours is None and sum(seconds.values()) > DAY_S:
            reporter.say(too_long(seconds))
        planned = read_or_none(folder / PLAN)
        rounded = {name: round(value, 1) for name, value in seconds.items()}
        write_json(folder / PLAN, {**(planned if isinstance(planned, dict) else {}), **rounded})
    return config, itinerary


def _keep(config: RunStep, folder: Path) -> None:
    """The settings of the run, which the next one is held against; written where they are others."""
    settings, path = json.loads(json.dumps(config.settings())), folder / "inputs.json"
    if read_or_none(path) != settings:
        write_json(path, settings)


def _ahead(settings: Mapping[str, Any], before: Mapping[str, Any], folder: Path, names: Sequence[str]) -> list[str]:
    """The steps without a result, those whose settings were others `before`, and those that read what these make.

    Only to tell the time by: whether a step is done again, it finds out itself, by all that it reads.
    """
    ahead: list[str] = []
    for name in names:
        own = {field.name for field in fields(ORDER[name][0])} & (settings.keys() | before.keys())
        changed = any(before.get(key) != settings.get(key) for key in own)
        reads = set(_READS.get(name, names[: names.index(name)]))
        if changed or reads & set(ahead) or not (folder / name / "result.json").exists():
            ahead.append(name)
    return ahead


_READS: dict[str, tuple[str, ...]] = {"train": (), "evaluate": ("train",), "profile": ()}
"""Which steps a step reads, of those that do not read all before them."""
