"""`hwnas import-table`: a published or foreign latency table in hwnas's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.inputs import resolve_space
from hwnas.cli.steps import files_digest, run_step
from hwnas.devices.config import DeviceConfig
from hwnas.errors import ConfigError
from hwnas.latency.lookup import TableEstimator
from hwnas.latency.published_rows import FORMATS, import_table, source_files
from hwnas.latency.table import table_path, write_table

__all__ = ["run", "step"]

SETTING = "published"


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    reporter.say(f"table: {folder / result['file']}: {result['operators']} operators of {result['device']}")
    if result["missing"]:
        reporter.say(
            f"{len(result['missing'])} operators of space {result['space']} are not among them, so that it can't be"
            f" searched with: {'; '.join(result['missing'][:3])}"
        )
    else:
        reporter.say(f"it covers space {result['space']}: hwnas search latency.path={folder} …")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The imported table's summary, made or read (see `hwnas.cli.steps`); `missing`: what the space has and it not."""
    if config.format not in FORMATS:
        raise ConfigError(f"format: expected one of {', '.join(FORMATS)}, got {config.format!r}: give format=…")
    if not config.path:
        raise ConfigError("path: which table is to be imported? give path=FILE, or path=FOLDER for format=ofa")
    kind, path, space = config.format, Path(config.path), resolve_space(config)
    files = source_files(path, kind)
    device = "" if config.device.name == DeviceConfig().name else config.device.name
    inputs = {"format": kind, "device": device, "space": space.config(),
              "files": files_digest({file.name: file for file in files})}  # fmt: skip

    def work() -> dict[str, Any]:
        table = import_table(path, kind, device)
        name = str(table.provenance["device"])
        written = write_table(table, table_path(folder, name, SETTING))
        return {
            "device": name,
            "file": str(written.relative_to(folder)),
            "operators": len(table.operators.operators),
            "space": space.name,
            "missing": [str(operator) for operator in TableEstimator(table, space).missing],
        }

    return run_step("import-table", folder, inputs, config.seed, work, reporter.say)
