"""Whole networks that the table was not fitted on, predicted against measured."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, TableError
from hwnas.latency.tables.table import LatencyTable, read_table
from hwnas.pipeline.asked import refuse_others
from hwnas.pipeline.config import ValidateTableStep
from hwnas.pipeline.inputs import table_files, writers
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.pipeline.units import device_inputs
from hwnas.profiling.config import ProfilingConfig
from hwnas.progress import SILENT, Reporter
from hwnas.spaces import space_from_dict

__all__ = ["PLOT", "PredictedNetwork", "TableValidated", "validate_table"]

PLOT = "predicted-measured.png"


@dataclass(frozen=True)
class PredictedNetwork:
    """A whole network, as the table predicts it and as measured, and by how much the device had drifted."""

    arch: dict[str, Any]
    predicted_ms: float
    measured_ms: float
    drift: float


@dataclass(frozen=True)
class TableValidated:
    """A table held against `networks` that it has not seen, drift divided out. Errors are fractions.

    `mape_test_retest`: of measuring twice. `within_10_percent`: the share of `rows` no further off. `plot`: a file
    of the step's folder.
    """

    device: str
    setting: str
    table: str
    networks: int
    mape: float
    mape_test_retest: float
    spearman: float | None
    within_10_percent: float
    rows: tuple[PredictedNetwork, ...]
    plot: str


@step_of(ValidateTableStep)
def validate_table(
    config: ValidateTableStep, folder: Path, reporter: Reporter = SILENT, asked: Set[str] = frozenset()
) -> TableValidated:
    """What was found, made or read (see `hwnas.pipeline.store.steps`). Space and setting are the table's own:
    ConfigError where one of the settings `asked` for, such as `profiling.threads`, is another.

    >>> table = "runs/mine/profile/local/onnxruntime-fp32-1t.csv"
    >>> config = hwnas.load_config(["experiment=smoke", f"table={table}", "n=2"])
    >>> hwnas.validate_table(config, "runs/mine/checked").networks
    2
    """
    if config.table is None:
        raise ConfigError("table: which latency table is to be checked? give table=FILE.csv")
    table_file = Path(config.table)
    table = read_table(table_file)
    facts = table.provenance
    own = {f"profiling.{key}": facts[key] for key in ("runtime", "precision", "threads")} | {
        "runtime": facts["runtime"]
    }
    refuse_others(config, asked, own, f"table {table_file}")
    settings = _settings(config.profiling, table)
    space = space_from_dict(table.provenance["spaces"][0])
    inputs = {
        "files": files_digest(table_files(table_file)),
        "device": device_inputs(config.device),
        "profiling": to_plain(settings),
        "n": config.n,
    }

    def work() -> TableValidated:
        from hwnas.devices.connect import connect
        from hwnas.devices.profile import load_profile
        from hwnas.profiling import validate as validation
        from hwnas.report.plots import plot_latency

        device = load_profile(config.device.name)
        if device.name != table.provenance["device"]:
            reporter.say(f"the table is of device {table.provenance['device']}, measured is {device.name}")
        title = f"validate: {config.n} whole networks of {space.name} on {device.name}, {settings.setting}"
        with (
            reporter.step(title) as progress,
            connect(device, config.device) as transport,
            writers(config.executor, settings, space) as executor,
        ):
            found = validation.validate_table(
                table, space, config.n, transport, settings, folder, config.seed, progress, executor
            )
        latency_ms = [ms / drift for ms, drift in zip(found.measured_ms, found.drift, strict=True)]
        networks = {"predicted_ms": list(found.predicted_ms), "measured_ms": latency_ms}
        plot_latency({"device": device.name, "runtime": settings.setting, "networks": networks}, [], folder / PLOT)
        return TableValidated(
            device=device.name,
            setting=settings.setting,
            table=str(table_file),
            networks=config.n,
            mape=found.mape,
            mape_test_retest=found.mape_test_retest,
            spearman=found.spearman,
            within_10_percent=found.within_10_percent,
            rows=tuple(
                PredictedNetwork(arch.to_dict(), predicted, measured, drift)
                for arch, predicted, measured, drift in zip(
                    found.archs, found.predicted_ms, found.measured_ms, found.drift, strict=True
                )
            ),
            plot=PLOT,
        )

    return run_step("validate", folder, inputs, config.seed, TableValidated, work, reporter.say)


def _settings(config: ProfilingConfig, table: LatencyTable) -> ProfilingConfig:
    """`config` with the table's runtime, precision, threads and batch."""
    facts = table.provenance
    if not facts.get("spaces"):
        raise TableError("the table does not say of which space it is: measure it again with hwnas profile")
    return replace(
        config, runtime=facts["runtime"], precision=facts["precision"], threads=facts["threads"],
        batch=facts.get("batch", 1),
    )  # fmt: skip
