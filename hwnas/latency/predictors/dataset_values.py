"""A device's column of a CSV file: what was measured, and what was not, or failed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hwnas.csv_files import CsvFile
from hwnas.errors import DataError
from hwnas.latency.predictors.dataset_config import LatencyDataConfig
from hwnas.spaces.space import Floats

__all__ = ["device_values"]

_NO_VALUES = ("-", "--", "na", "n/a", "none", "null", "failed", "error")
_PLACES = 5  # rows named in a note


def device_values(
    config: LatencyDataConfig, path: Path, table: CsvFile, device: str, column: str
) -> tuple[Floats, str | None]:
    """The column `[N]`, NaN where a cell is empty or tells of a failure, and a note on those cells.

    Failures are 0, negative and infinite numbers, nan and words such as failed. Raises DataError, naming the line, for
    any other text, and for a device on which nothing was measured, or always the same.
    """
    values = np.full(len(table.rows), np.nan)
    empty = 0
    failed: dict[str, list[int]] = {}
    for number, row in enumerate(table.rows):
        text = row.values[column]
        if not text:
            empty += 1
            continue
        try:
            value = np.nan if text.lower() in _NO_VALUES else table.number(text)
        except ValueError as error:
            raise DataError(
                f"{path}, line {row.line}: {config.quantity} on {device} is {error} of {config.unit_name}"
            ) from error
        if np.isfinite(value) and value > 0:
            values[number] = value
        else:
            failed.setdefault(text, []).append(row.line)
    known = values[np.isfinite(values)]
    if not len(known):
        raise DataError(f"{path}: no row has a {config.quantity} on {device}: {_told(empty, failed)}; leave it out")
    if len(values) > 1 and np.ptp(known) == 0:
        raise DataError(
            f"{path}: every {config.quantity} on {device} is {known[0]} {config.unit_name}: a constant teaches nothing;"
            " leave it out"
        )
    if len(known) == len(values):
        return values, None
    return values, f"{device}: {len(values) - len(known)} of {len(values)} rows left out: {_told(empty, failed)}"


def _told(empty: int, failed: dict[str, list[int]]) -> str:
    said = [f"{empty} empty"] if empty else []
    for text, lines in failed.items():
        more = f" and {len(lines) - _PLACES} more" if len(lines) > _PLACES else ""
        said.append(f"{len(lines)} failed ({text}) in lines {', '.join(map(str, lines[:_PLACES]))}{more}")
    return "; ".join(said)
