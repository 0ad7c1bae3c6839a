"""`hwnas export`: chosen networks as checked model files, each in a bundle that proves itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.export_files import export_files
from hwnas.cli.export_plan import plan_files, planned_targets
from hwnas.cli.export_subjects import source_of
from hwnas.cli.inputs import device_inputs
from hwnas.cli.steps import files_digest, run_step
from hwnas.data.config import NoDataConfig
from hwnas.errors import ConfigError

__all__ = ["run", "step"]

COLUMNS = ("file", "KiB", "parity", "same class", "accuracy", "drop", "latency ms")


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    rows = [
        (
            str(Path(entry["path"]).parent.relative_to("deploy")), f"{entry['bytes'] / 1024:.0f}",
            f"{entry['parity_max_abs']:.1e}", _cell(entry["top1_agreement"], ".1%"), _cell(entry["accuracy"], ".4f"),
            _cell(entry["accuracy_drop"], "+.4f"), _cell(entry["latency_ms"], ".4g"),
        )
        for entry in result["files"]
    ]  # fmt: skip
    reporter.table("exported files", COLUMNS, rows)
    if config.export.inputs is None and any(not entry["real_images"] for entry in result["files"]):
        reporter.say(
            "parity is of noise, not of real images: give data=… to have the files checked as they will be used"
        )
    for entry in result["files"]:
        reporter.say(f"bundle: {folder / Path(entry['path']).parent}")
    reporter.say(f"result: {folder / 'result.json'}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The files' summary, made or read (see `hwnas.cli.steps`)."""
    config = _as_checked(config, reporter)
    targets, files = planned_targets(config, folder)
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
        inputs |= {"device": device_inputs(config.device), "profiling": to_plain(config.profiling)}

    def work() -> dict[str, Any]:
        return {"files": export_files(config, planned, source, folder, reporter), "left_out": left_out}

    return run_step("export", folder, inputs, config.seed, work, reporter.say)


def _as_checked(config: PipelineConfig, reporter: Reporter) -> PipelineConfig:
    """Without data where inputs are given that no data set has. ConfigError for inputs of a network of a space."""
    if config.export.inputs is None:
        return config
    if config.module is None:
        raise ConfigError("export.inputs: networks of a space take images; expected module=… with it")
    if not isinstance(config.data, NoDataConfig):
        reporter.say(f"export: with export.inputs files are checked on noise; data={config.data.name} is not read")
        config = replace(config, data=NoDataConfig())
    return config


def _cell(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
