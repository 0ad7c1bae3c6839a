"""A published or foreign latency table in hwnas's own format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.devices.config import DeviceConfig
from hwnas.errors import ConfigError
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.published_rows import FORMATS, import_table, source_files
from hwnas.latency.tables.table import table_path, write_table
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import resolve_space
from hwnas.pipeline.steps import files_digest, run_step
from hwnas.progress import SILENT, Reporter

__all__ = ["import_published"]

SETTING = "published"


def import_published(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """The imported table's summary, made or read (see `hwnas.pipeline.steps`); `missing`: what only the space has."""
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
