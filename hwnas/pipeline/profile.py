"""A device measured into latency tables, one a runtime."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hwnas.latency.tables.table import LatencyTable
from hwnas.pipeline.config import ProfileStep
from hwnas.pipeline.inputs import device_inputs, resolve_space, tables_of
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import run_step, step_of
from hwnas.progress import SILENT, Reporter

__all__ = ["NetworkLatencies", "Profiled", "TableSummary", "profile"]


@dataclass(frozen=True)
class NetworkLatencies:
    """Whole networks, as predicted by a correction fitted without them, and as measured."""

    predicted_ms: tuple[float, ...] = ()
    measured_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TableSummary:
    """A table that was measured. `file` lies below the step's folder; `covered` of its `operators` run in the runtime.

    Errors on whole networks are fractions: as operators sum up (`mape_raw`), corrected, and of measuring twice
    (`mape_test_retest`, also `noise`); None where no whole networks were measured.
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


@dataclass(frozen=True, kw_only=True)
class Profiled(TableSummary):
    """The `tables`, one a runtime. The first one's figures stand on top as well: the common case of profiling one."""

    tables: tuple[TableSummary, ...]


@step_of(ProfileStep)
def profile(config: ProfileStep, folder: Path, reporter: Reporter = SILENT) -> Profiled:
    """The tables in `folder`, made or read (see `hwnas.pipeline.store.steps`). What was measured before a kill is kept.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> profiled = hwnas.profile(config, "runs/mine/profile")
    >>> [table.runtime for table in profiled.tables]
    ['onnxruntime', 'litert']
    """
    space = resolve_space(config)
    inputs = {
        "space": space.config(),
        "device": device_inputs(config.device),
        "runtimes": list(config.runtimes),
        "profiling": to_plain(config.profiling),
    }

    def work() -> Profiled:
        from hwnas.devices.connect import connect
        from hwnas.devices.profile import load_profile
        from hwnas.profiling.build import build_table
        from hwnas.profiling.networks import networks_at_most

        device = load_profile(config.device.name)
        started, entries = time.monotonic(), []
        for runtime, path in tables_of(config, folder).items():
            settings = replace(config.profiling, runtime=runtime)
            title = (
                f"profile: {len(space.operators)} operators and {networks_at_most(space, settings.networks)} whole"
                f" networks on {device.name}, {settings.setting}"
            )
            with reporter.step(title) as progress, connect(device, config.device) as transport:
                table = build_table(space, device, transport, settings, folder, config.seed, progress)
            entries.append(_summary(table, str(path.relative_to(folder))))
        top = {field.name: getattr(entries[0], field.name) for field in fields(TableSummary)}
        return Profiled(**{**top, "elapsed_s": round(time.monotonic() - started, 2)}, tables=tuple(entries))

    return run_step("profile", folder, inputs, config.seed, Profiled, work, reporter.say)


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
    )
