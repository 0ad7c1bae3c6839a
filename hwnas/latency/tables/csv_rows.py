"""Operators and their latencies from a CSV file of anyone's.

One operator a row, columns named as the fields of `Operator`, with `latency_ms` and, where known, `p10_ms`, `p90_ms`,
`samples`, `energy_mj`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hwnas.csv_files import CsvFile, CsvRow, read_csv
from hwnas.errors import TableError
from hwnas.latency.tables.table import ENERGY, OPERATOR_VALUES
from hwnas.operators import Operator
from hwnas.operators.operator import Field
from hwnas.operators.registry import all_fields, operator_from_text

__all__ = ["Row", "read_csv_rows"]

_OPTIONAL = ("p10_ms", "p90_ms", "samples", ENERGY)
_NEEDED = ("kind", *Operator.field_names(), "latency_ms")


@dataclass(frozen=True)
class Row:
    """One operator, in ms; `part_of`: whether it was measured within another. NaN is not known."""

    latency_ms: float
    p10_ms: float
    p90_ms: float
    samples: int
    energy_mj: float = math.nan
    part_of: bool = False


def read_csv_rows(path: Path) -> dict[Operator, Row]:
    """The operators at `path` with their latencies. Raises TableError, naming file and row, for anything else."""
    table = read_csv(path, TableError, "a row holds an operator and its latency_ms")
    if set(OPERATOR_VALUES) <= set(table.columns):
        raise TableError(f"{path} is a table of hwnas's own: search with it as it is, latency.path={path}")
    known = ("kind", *all_fields(), "latency_ms", *_OPTIONAL)
    if set(table.columns) - set(known) or set(_NEEDED) - set(table.columns):
        raise TableError(
            f"{path}, row 1: unknown columns {sorted(set(table.columns) - set(known))}, missing"
            f" {[key for key in _NEEDED if key not in table.columns]}; a row holds an operator: {', '.join(known)}"
        )
    rows: dict[Operator, Row] = {}
    lines: dict[Operator, int] = {}
    for row in table.rows:
        operator = _csv_operator(table, row)
        if operator in rows:
            raise TableError(f"{row.place}: {operator} stands there twice, in row {lines[operator]} already")
        rows[operator], lines[operator] = _csv_row(table, row), row.line
    if 0 < sum(math.isnan(row.energy_mj) for row in rows.values()) < len(rows):
        raise TableError(f"{path}: {ENERGY} is given for some operators only: fill the column or leave it out")
    return rows


def _csv_operator(table: CsvFile, row: CsvRow) -> Operator:
    parse: dict[type, Callable[[str], Field]] = {
        int: table.whole_number, float: table.number, str: str, bool: _boolean,
    }  # fmt: skip
    try:
        operator = operator_from_text(row.values, parse)
    except ValueError as error:
        raise TableError(f"{row.place}: not an operator with its latency ({error})") from error
    for name, value in operator.to_dict().items():
        if name.endswith(("channels", "height", "width", "kernel", "stride")) and int(value) < 1:
            text = row.values.get(name) or value
            raise TableError(f"{row.place}: not an operator: {name} is {text}, expected a positive number")
    return operator


def _csv_row(table: CsvFile, row: CsvRow) -> Row:
    numbers: dict[str, float] = {}
    for key in ("latency_ms", *_OPTIONAL):
        text = row.values.get(key, "")
        if text == "" and key in _OPTIONAL:
            continue
        try:
            numbers[key] = table.whole_number(text) if key == "samples" else table.number(text)
        except ValueError as error:
            raise TableError(f"{row.place}: not an operator with its latency ({key} is {error})") from error
        if not (math.isfinite(numbers[key]) and numbers[key] > 0):
            raise TableError(f"{row.place}: {key} is {numbers[key]}, expected a positive number")
    return Row(
        numbers["latency_ms"], numbers.get("p10_ms", math.nan), numbers.get("p90_ms", math.nan),
        int(numbers.get("samples", 1)), numbers.get(ENERGY, math.nan),
    )  # fmt: skip


def _boolean(text: str) -> bool:
    if text.lower() not in (known := {"true": True, "1": True, "false": False, "0": False}):
        raise ValueError(f"{text!r}, expected true or false")
    return known[text.lower()]
