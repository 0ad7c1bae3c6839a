"""`hwnas validate`: exported files on their device and on the test images, predicted against measured.

With `table=FILE` a latency table is checked instead, see `validate_table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.cli.commands import validate_table
from hwnas.cli.console import ConsoleReporter
from hwnas.errors import ConfigError
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.validate import ValidatedTarget, validate
from hwnas.report.predicted import is_imbalanced

if TYPE_CHECKING:
    pass


__all__ = ["run"]

ACCURACIES = ("accuracy_torch", "accuracy_exported", "accuracy_inherited", "accuracy_random")
COLUMNS = (
    "target", "budget ms", "predicted", "measured", "drift", "÷ drift", "accuracy", "as file", "untuned", "random",
)  # fmt: skip


def run(config: PipelineConfig, folder: Path) -> None:
    if config.table is not None:
        given = [key for key in ("checkpoint", "targets", "exported") if getattr(config, key) is not None]
        given += [key for key, value in (("devices", config.devices), ("fleet", config.fleet.file)) if value]
        if given:
            raise ConfigError(f"table and {given[0]}: table=FILE checks a latency table alone: leave one of them out")
        validate_table.run(config, folder)
        return
    reporter = ConsoleReporter()
    result = validate(config, folder, reporter)
    reporter.table("exported files, measured", *table(result.targets, result.images_by_class))
    reporter.say(f"result: {folder / 'result.json'}")


def table(
    targets: Sequence[ValidatedTarget], images_by_class: Mapping[str, Sequence[int]] | None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the short table that `validate` and `run` print: with the file's balanced accuracy where the
    classes differ in size, by threefold or more.
    """
    balanced = is_imbalanced(images_by_class)
    shares = (*ACCURACIES[:2], *(("balanced_accuracy_exported",) if balanced else ()), *ACCURACIES[2:])
    columns = (*COLUMNS[:-2], *(("balanced",) if balanced else ()), *COLUMNS[-2:])
    rows = [
        (
            target.id, f"{target.budget_ms:.4g}", f"{target.predicted_ms:.4g}", f"{target.measured_ms:.4g}",
            f"{target.drift:.3f}", f"{target.measured_ms / target.drift:.4g}",
            *("–" if (share := getattr(target, key)) is None else f"{share:.4f}" for key in shares),
        )
        for target in targets
    ]  # fmt: skip
    return columns, rows
