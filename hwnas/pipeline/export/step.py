"""Chosen networks as checked model files, each in a bundle that proves itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.data.config import NoDataConfig
from hwnas.errors import ConfigError
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.export.bundles import export_files
from hwnas.pipeline.export.plan import check_formats, plan_files, planned_targets
from hwnas.pipeline.export.result import Exported
from hwnas.pipeline.export.subjects import source_of
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.pipeline.units import units_inputs, units_of
from hwnas.progress import SILENT, Reporter

__all__ = ["export"]


@step_of(ExportStep)
def export(config: ExportStep, folder: Path, reporter: Reporter = SILENT) -> Exported:
    """The files in `folder`, made or read (see `hwnas.pipeline.store.steps`).

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> exported = hwnas.export(config, "runs/mine/export")
    >>> sorted({file.format for file in exported.files})
    ['onnx', 'tflite']
    """
    config = _as_checked(config, reporter)
    units = units_of(config)
    targets, files = planned_targets(config, units, folder)
    check_formats(units, config.formats)
    planned, left_out = plan_files(targets, config.formats, config.precisions)
    for what in left_out:
        reporter.say(f"export: {what} is left out: the format is not written so")
    source = source_of(config, folder, targets, reporter.note)
    settings = to_plain(config.export)
    del settings["processes"]  # changes nothing but the time taken
    inputs: dict[str, Any] = {
        **source.inputs,
        "licence": config.data.licence,
        "export": settings,
        "targets": [[file.target.id, file.target.threads, file.target.arch, str(file.folder)] for file in planned],
        "files": files_digest({**files, **source.files}),
    }
    if config.export.measure_latency:
        inputs |= {**units_inputs(units), "profiling": to_plain(config.profiling)}

    def work() -> Exported:
        return Exported(tuple(export_files(config, units, planned, source, folder, reporter)), tuple(left_out))

    return run_step("export", folder, inputs, config.seed, Exported, work, reporter.say)


def _as_checked(config: ExportStep, reporter: Reporter) -> ExportStep:
    """Without data where inputs are given that no data set has. ConfigError for inputs of a network of a space."""
    if config.export.inputs is None:
        return config
    if config.module is None:
        raise ConfigError("export.inputs: networks of a space take images; expected module=… with it")
    if not isinstance(config.data, NoDataConfig):
        reporter.say(f"export: with export.inputs files are checked on noise; data={config.data.name} is not read")
        config = replace(config, data=NoDataConfig())
    return config
