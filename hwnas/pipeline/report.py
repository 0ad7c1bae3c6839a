"""Plots and one HTML page from the result files of a run."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hwnas.files import read_json
from hwnas.pipeline.config import ReportStep
from hwnas.pipeline.evaluate import ScoredPredictor
from hwnas.pipeline.learnt import learnt_of
from hwnas.pipeline.predictions import find_pictures, read_predictions
from hwnas.pipeline.profile import TableSummary
from hwnas.pipeline.search.result import ComparedFamilies, Searched
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import files_digest, read_document, read_or_none, read_result_as, run_step, step_of
from hwnas.pipeline.validate import Validated, ValidatedTarget
from hwnas.progress import SILENT, Reporter
from hwnas.version import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Reported", "RunResult", "collect", "report"]

T = TypeVar("T")

SHOWN = ("search", "validate")
"""The steps of the run itself that the report shows, beside those before the search."""

PLAN = "plan.json"
"""Seconds by step, as `hwnas run` forecast them before it began."""


@dataclass(frozen=True)
class Reported:
    """The page and the plots by name, files of the step's folder."""

    report: str
    plots: dict[str, str]


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run: the seconds that were forecast for it, and those that it took."""

    step: str
    planned_s: float
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a whole run found, and the report shows (see `hwnas.report.shape`).

    Where several supernets were searched: how these `families` compare, and `supernets` what is known of each, which
    is then neither in `supernet` and `history` nor in `accuracy_predictor`.
    """

    targets: tuple[ValidatedTarget, ...]
    accuracy_predictor: ScoredPredictor | None
    tables: tuple[TableSummary, ...]
    front: tuple[dict[str, Any], ...]
    history: tuple[dict[str, Any], ...]
    data: dict[str, Any]
    supernet: dict[str, Any]
    search_history: tuple[dict[str, Any], ...]
    search: dict[str, Any]
    elapsed_s: float
    version: str
    provenance: dict[str, Any]
    plan: tuple[PlannedStep, ...] = ()
    families: tuple[ComparedFamilies, ...] | None = optional()
    supernets: tuple[dict[str, Any], ...] | None = optional()

    def to_frame(self) -> pd.DataFrame:
        """One row a target."""
        return Validated(self.targets).to_frame()


@step_of(ReportStep)
def report(config: ReportStep, folder: Path, reporter: Reporter = SILENT) -> Reported:
    """Draws what a run's folder holds into `folder`; skipped where nothing changed (see `hwnas.pipeline.store.steps`).

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> hwnas.report(config, "runs/mine/report").report
    'report.html'
    """
    run_folder = Path(config.folder) if config.folder else folder.parent
    read = {role: file for one in learnt_of(run_folder) for role, file in one.roles.items()}
    read |= {name: run_folder / name / "result.json" for name in SHOWN}
    inputs = {"files": files_digest(read) | files_digest(_prediction_files(run_folder))}

    def work() -> Reported:
        from hwnas.report.html import write_report
        from hwnas.report.plots import draw_all

        with reporter.step("report: plots and report.html"):
            content = {**to_plain(collect(run_folder)), "title": f"hwnas: {config.name}", "seed": config.seed}
            content |= _predictions(run_folder)
            plots = draw_all(content, folder)
            images = {image for entry in content.get("predictions", []) for image in entry["image"]}
            pictures = find_pictures(run_folder / "validate", sorted(images))
            write_report(content, plots, folder / "report.html", run_folder, pictures)
        return Reported("report.html", {name: path.name for name, path in plots.items()})

    return run_step("report", folder, inputs, config.seed, Reported, work, reporter.say)


def _validated(run_folder: Path) -> Validated:
    return read_result_as(Validated, run_folder / "validate" / "result.json")


def _prediction_files(run_folder: Path) -> dict[str, Path]:
    """The CSV files that `hwnas validate` names, by the ids of their targets; none in older results."""
    named = {target.id: target.predictions for target in _validated(run_folder).targets}
    return {f"predictions of {name}": run_folder / "validate" / file for name, file in named.items() if file}


def _predictions(run_folder: Path) -> dict[str, Any]:
    """`classes` and `predictions` as the report reads them; empty for older results."""
    validated = _validated(run_folder)
    files = [(place, target.predictions) for place, target in enumerate(validated.targets) if target.predictions]
    if validated.classes is None or not files:
        return {}
    entries = [
        {"target": place} | read_predictions(run_folder / "validate" / file, validated.classes) for place, file in files
    ]
    return {"classes": list(validated.classes), "predictions": entries}


def collect(run_folder: Path) -> RunResult:
    """What the steps in a run's folder found together. Raises StorageError where one of them is not finished."""

    def read(name: str, kind: type[T]) -> T:
        return read_result_as(kind, run_folder / name / "result.json")

    learnt, search, validate = learnt_of(run_folder), read("search", Searched), read("validate", Validated)
    only = learnt[0] if len(learnt) == 1 and learnt[0].space is None else None
    tables = tuple(table for one in learnt for table in one.tables)
    own = (*SHOWN, "finetune") if any(target.finetuned for target in validate.targets) else SHOWN
    seconds = {role: took for one in learnt for role, took in one.seconds.items()}
    seconds |= {name: read_json(run_folder / name / "result.json")["elapsed_s"] for name in own}
    by_class = validate.images_by_class
    return RunResult(
        targets=validate.targets,
        accuracy_predictor=only.predictor if only else None,
        tables=tables,
        front=search.front,
        history=only.trained.history if only else (),
        data=learnt[0].trained.data | ({"images_by_class": by_class} if by_class else {}),
        supernet=only.supernet() if only else {},
        search_history=search.history,
        search={"evaluations": search.evaluations, "elapsed_s": search.elapsed_s},
        elapsed_s=sum(seconds.values()),
        version=__version__,
        provenance={
            "versions": {"hwnas": __version__, "Python": platform.python_version()} | _versions(tables),
            "machine": {"system": platform.platform(), "processor": platform.processor() or platform.machine()},
            "seconds": seconds,
        },
        plan=_plan(run_folder),
        families=search.families,
        supernets=None
        if only
        else tuple(
            {**one.supernet(), "accuracy_predictor": to_plain(one.predictor), "history": list(one.trained.history)}
            for one in learnt
        ),
    )


def _versions(tables: Sequence[TableSummary]) -> dict[str, str]:
    """Of each runtime; where devices have several of one, of each device's."""
    found: dict[str, dict[str, str]] = {}
    for entry in tables:
        of = entry.device if entry.space is None else f"{entry.device} ({entry.space})"
        found.setdefault(entry.runtime, {})[of] = entry.runtime_version
    return {
        runtime if len(set(own.values())) == 1 else f"{runtime} on {device}": version
        for runtime, own in found.items()
        for device, version in own.items()
    }


def _plan(run_folder: Path) -> tuple[PlannedStep, ...]:
    planned = read_or_none(run_folder / PLAN)
    if not isinstance(planned, dict):
        return ()
    results = {name: run_folder / name / "result.json" for name in planned}
    return tuple(
        PlannedStep(name, float(planned[name]), read_document(path)["elapsed_s"])
        for name, path in results.items()
        if path.exists()
    )
