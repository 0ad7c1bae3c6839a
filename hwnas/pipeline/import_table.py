"""A published or foreign latency table in hwnas's own format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwnas.devices.config import DeviceConfig
from hwnas.devices.profile import profile_name
from hwnas.errors import ConfigError
from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.published_rows import FORMATS, import_table, source_files
from hwnas.latency.tables.table import table_path, write_table
from hwnas.pipeline.config import ImportTableStep
from hwnas.pipeline.space import resolve_space
from hwnas.pipeline.store.steps import files_digest, run_step, step_of
from hwnas.progress import SILENT, Reporter

__all__ = ["Imported", "import_published"]

SETTING = "published"


@dataclass(frozen=True)
class Imported:
    """A table brought in: `file` below the step's folder, and which operators of the `space` it is `missing`."""

    device: str
    file: str
    operators: int
    space: str
    missing: tuple[str, ...]


@step_of(ImportTableStep)
def import_published(config: ImportTableStep, folder: Path, reporter: Reporter = SILENT) -> Imported:
    """The table in `folder`, made or read (see `hwnas.pipeline.store.steps`).

    >>> config = hwnas.load_config(["experiment=smoke", "format=csv", "path=theirs.csv", "device=pixel4"])
    >>> hwnas.import_published(config, "tables").device
    'pixel4'
    """
    if config.format not in FORMATS:
        raise ConfigError(f"format: expected one of {', '.join(FORMATS)}, got {config.format!r}: give format=…")
    if not config.path:
        raise ConfigError("path: which table is to be imported? give path=FILE, or path=FOLDER for format=ofa")
    kind, path, space = config.format, Path(config.path), resolve_space(config)
    files = source_files(path, kind)
    device = "" if config.device.name == DeviceConfig().name else profile_name(config.device.name)
    inputs = {"format": kind, "device": device, "space": space.config(),
              "files": files_digest({file.name: file for file in files})}  # fmt: skip

    def work() -> Imported:
        table = import_table(path, kind, device)
        name = str(table.provenance["device"])
        written = write_table(table, table_path(folder, name, SETTING))
        return Imported(
            device=name,
            file=str(written.relative_to(folder)),
            operators=len(table.operators.operators),
            space=space.name,
            missing=tuple(str(operator) for operator in TableEstimator(table, space).missing),
        )

    return run_step("import-table", folder, inputs, config.seed, Imported, work, reporter.say)
