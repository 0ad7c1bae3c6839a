"""A device measured into latency tables, one a runtime."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.fleet import Unit
from hwnas.executors.choose import open_executor
from hwnas.latency.tables.table import LatencyTable
from hwnas.pipeline.config import ProfileStep
from hwnas.pipeline.inputs import writers
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import run_step, step_of
from hwnas.pipeline.units import by_model, names_of, units_inputs, units_of
from hwnas.progress import SILENT, Reporter, part

if TYPE_CHECKING:
    from hwnas.profiling.build import TableWork

__all__ = ["MeasuringUnit", "NetworkLatencies", "Profiled", "TableSummary", "profile"]

_MODELS = ".models"
"""The folder of model files, until all tables that are measured with them are there."""


@dataclass(frozen=True)
class NetworkLatencies:
    """Whole networks, as predicted by a correction fitted without them, and as measured."""

    predicted_ms: tuple[float, ...] = ()
    measured_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class MeasuringUnit:
    """One device of several that measured a table: so many `models`, in ms of its own `reference_ms`.

    `deviation`: how far common networks are from the other units', a fraction. `left_out` says why it was, else empty.
    """

    unit: str
    models: int
    deviation: float | None
    reference_ms: float | None
    left_out: str


@dataclass(frozen=True, kw_only=True)
class TableSummary:
    """A table that was measured. `file` lies below the step's folder; `covered` of its `operators` run in the runtime.

    Errors on whole networks are fractions: as operators sum up (`mape_raw`), corrected, and of measuring twice
    (`mape_test_retest`, also `noise`); None where no whole networks were measured. `units`: those that shared the work,
    None where one device did it alone. `space`: the name of its space, where tables of several stand together.
    """

    device: str
    runtime: str
    runtime_version: str
    precision: str
    threads: int
    file: str
    operators: int
    covered: int
    measured_networks: int
    mape_raw: float | None
    mape_corrected: float | None
    mape_test_retest: float | None
    noise: float | None
    spearman: float | None
    elapsed_s: float
    networks: NetworkLatencies
    units: tuple[MeasuringUnit, ...] | None = optional()
    space: str | None = optional()


@dataclass(frozen=True, kw_only=True)
class Profiled(TableSummary):
    """The `tables`, one a runtime. The first one's figures stand on top as well: the common case of profiling one."""

    tables: tuple[TableSummary, ...]


@step_of(ProfileStep)
def profile(config: ProfileStep, folder: Path, reporter: Reporter = SILENT) -> Profiled:
    """The tables in `folder`, made or read (see `hwnas.pipeline.store.steps`). What was measured before a kill is kept.

    Several devices are measured at once (see `hwnas.profiling.fleet`), a table of each model.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> profiled = hwnas.profile(config, "runs/mine/profile")
    >>> [table.runtime for table in profiled.tables]
    ['onnxruntime', 'litert']
    """
    space = resolve_space(config)
    units = units_of(config)
    inputs: dict[str, Any] = {
        "space": space.config(),
        **units_inputs(units),
        "runtimes": list(config.runtimes),
        "profiling": to_plain(config.profiling),
    }
    if config.threads:
        inputs["threads"] = list(config.threads)
    if len(units) > 1:
        inputs["tolerance"] = config.fleet.tolerance

    def work() -> Profiled:
        from hwnas.profiling.build import TableWork

        started = time.monotonic()
        is_alone = len(units) == 1 and units[0].host is None
        measure = partial(_alone if is_alone else _together, config, units, reporter)
        made: list[TableWork] = []
        # One setting after another: a device measures one at a time, and tables of one setting share their models.
        for settings in config.settings_measured:
            works = [
                TableWork(space, own[0].profile, settings, folder, config.seed, folder / _MODELS)
                for own in by_model(units).values()
            ]
            with ExitStack() as opened:
                for one in works:
                    opened.enter_context(one)
                if any(one.finished is None for one in works):
                    measure(works)
            made += works
        shutil.rmtree(folder / _MODELS, ignore_errors=True)
        entries = [_summary(one.table, str(one.path.relative_to(folder))) for one in made]
        top = {field.name: getattr(entries[0], field.name) for field in fields(TableSummary)}
        return Profiled(**{**top, "elapsed_s": round(time.monotonic() - started, 2)}, tables=tuple(entries))

    return run_step("profile", folder, inputs, config.seed, Profiled, work, reporter.say)


def _alone(config: ProfileStep, units: Sequence[Unit], reporter: Reporter, works: Sequence[TableWork]) -> None:
    """Measures one table on one device."""
    from hwnas.devices.connect import connect
    from hwnas.profiling.build import measure_table

    [work], [unit] = works, units
    with (
        reporter.step(_title(work, unit.profile.name)) as progress,
        connect(unit.profile, unit.device) as transport,
        writers(config.executor, work.config, work.space) as executor,
    ):
        measure_table(work, transport, progress, executor)


def _together(config: ProfileStep, units: Sequence[Unit], reporter: Reporter, works: Sequence[TableWork]) -> None:
    """Measures tables of several models of device, or one on several units."""
    from hwnas.profiling.build import progress_of_measuring, progress_of_writing
    from hwnas.profiling.fleet import measure_tables

    open_works = [work for work in works if work.finished is None]
    known = by_model(units)
    of_model = {work.device.name: known[work.device.name] for work in open_works}
    busy = [unit for own in of_model.values() for unit in own]
    with reporter.step(_title(open_works[0], names_of(busy))) as progress:
        for number, work in enumerate(open_works):
            with writers(config.executor, work.config, work.space) as executor:
                work.models.write(part(progress_of_writing(progress), number, len(open_works)), executor)
        workers = replace(config.executor, workers=len(busy))
        with open_executor(workers if config.executor.kind == "local" else config.executor) as executor:
            found = measure_tables(
                executor, open_works, of_model, config.fleet.tolerance, reporter.say, progress_of_measuring(progress)
            )
        for work, measured in zip(open_works, found, strict=True):
            work.finish(measured)
        progress(1.0, "done")


def _title(work: TableWork, where: str) -> str:
    space, networks = work.space, len(work.models.genotypes)
    return f"profile: {len(space.operators)} operators and {networks} whole networks on {where}, {work.config.setting}"


def _summary(table: LatencyTable, file: str) -> TableSummary:
    facts = table.provenance
    correction = facts["correction"] or {}
    held_out = correction.get("mape_corrected") is not None
    return TableSummary(
        device=facts["device"],
        runtime=facts["runtime"],
        runtime_version=facts["runtime_version"],
        precision=facts["precision"],
        threads=facts["threads"],
        file=file,
        operators=facts["operators"],
        covered=facts["operators"] - facts["rejected_operators"],
        measured_networks=facts["networks"],
        mape_raw=correction.get("mape_raw"),
        mape_corrected=correction.get("mape_corrected"),
        mape_test_retest=facts["noise"]["mape_test_retest_networks"],
        noise=facts["noise"]["mape_test_retest_networks"],
        spearman=correction.get("spearman_corrected"),
        elapsed_s=facts["elapsed_s"],
        networks=NetworkLatencies(tuple(table.networks.held_out_ms.tolist()), tuple(table.networks.median_ms.tolist()))
        if held_out
        else NetworkLatencies(),
        units=tuple(MeasuringUnit(**unit) for unit in facts["machine"]["units"])
        if facts["machine"].get("units")
        else None,
    )
