"""Latency tables: what was measured on one device setting, in memory and as files.

A table is three files: `<setting>.csv` with one operator a row, `<setting>.networks.csv` with one whole network a row,
and `<setting>.json` with the provenance, which is written last: a table without it is not complete.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.csv_files import CsvFile, CsvRow, read_csv
from hwnas.errors import TableError
from hwnas.files import read_json, write_json, write_text
from hwnas.operators import Operator
from hwnas.operators.operator import Field
from hwnas.operators.registry import all_fields, kind_named, kind_names, operator_from_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LatencyTable", "NetworkRows", "OperatorRows", "read_table", "table_path", "write_table"]

Floats = NDArray[np.float64]

OPERATOR_VALUES = ("median_ms", "p10_ms", "p90_ms", "samples", "in_network_ms", "error")
_COMMON = ("kind", *Operator.field_names())
ENERGY = "energy_mj"  # the last column, where a table has it
NETWORK_VALUES = ("arch", "median_ms", "p10_ms", "p90_ms", "samples", "isolated_sum_ms", "held_out_ms")
PROVENANCE_KEYS = ("device", "runtime", "runtime_version", "precision", "threads", "reference", "operators", "networks")


@dataclass(frozen=True)
class OperatorRows:
    """Operators measured alone, `[O]` each. `in_network_ms`: what one costs inside a network, see `correction.py`.

    Where the runtime rejected an operator, `errors` says why and the numbers are NaN (`samples` 0). `energy_mj`: of one
    inference, None for tables without that column.
    """

    operators: tuple[Operator, ...]
    median_ms: Floats
    p10_ms: Floats
    p90_ms: Floats
    samples: NDArray[np.int64]
    in_network_ms: Floats
    errors: tuple[str, ...]
    energy_mj: Floats | None = None


@dataclass(frozen=True)
class NetworkRows:
    """Whole networks, `[N]` each. `archs`: as of `Arch.to_dict()`.

    `isolated_sum_ms`: the plain sum of the operators measured alone. `held_out_ms`: as predicted by a correction
    that was fitted without this network (NaN where none was fitted).
    """

    archs: tuple[dict[str, Any], ...]
    median_ms: Floats
    p10_ms: Floats
    p90_ms: Floats
    samples: NDArray[np.int64]
    isolated_sum_ms: Floats
    held_out_ms: Floats


@dataclass(frozen=True)
class LatencyTable:
    """Measurements of one device, runtime, precision and number of threads. Latencies in ms at batch 1."""

    operators: OperatorRows
    networks: NetworkRows
    provenance: dict[str, Any]

    @property
    def reference(self) -> dict[str, Any]:
        """The reference network: `arch`, the `seed` of its weights, and `latency_ms` when the table was made."""
        return dict(self.provenance["reference"])

    @classmethod
    def read(cls, path: Path | str) -> LatencyTable:
        """The table whose operators stand at `path`: see `read_table`.

        >>> table = hwnas.LatencyTable.read("latency_tables/ofa_mbv3/emerald_rapids_2_cores/onnxruntime-fp32-1t.csv")
        >>> table.provenance["runtime"]
        'onnxruntime'
        """
        return read_table(path)

    def to_frame(self) -> pd.DataFrame:
        """One row an operator: its kind and fields, then latencies in ms and whatever else the file has.

        >>> bool(table.to_frame().groupby("kind")["median_ms"].max().min() > 0)
        True
        """
        import pandas as pd

        rows = self.operators
        columns = {key: getattr(rows, key) for key in OPERATOR_VALUES[:-1]} | {"error": list(rows.errors)}
        written = [operator.to_dict() for operator in rows.operators]
        names = dict.fromkeys(name for values in written for name in values)
        # Of fields that some kinds do not have, whole numbers stay whole: pandas would make them fractions.
        cells = {name: pd.array([values.get(name) for values in written]) for name in names}
        frame: pd.DataFrame = pd.DataFrame(cells).assign(**columns)
        if rows.energy_mj is not None:
            frame[ENERGY] = rows.energy_mj
        return frame

    def networks_to_frame(self) -> pd.DataFrame:
        """One row a whole network that was measured: its `arch` and latencies in ms."""
        import pandas as pd

        columns = {key: getattr(self.networks, key) for key in NETWORK_VALUES[1:]}
        return pd.DataFrame({"arch": list(self.networks.archs), **columns})


def table_path(folder: Path | str, device: str, setting: str) -> Path:
    """Where a device's table stands in a folder of tables: `<folder>/<device>/<setting>.csv`."""
    return Path(folder) / device / f"{setting}.csv"


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.stem}.networks.csv"), path.with_name(f"{path.stem}.json")


def write_table(table: LatencyTable, path: Path | str) -> Path:
    """Writes the three files of `table`, the CSV of operators at `path`, and returns that."""
    path = Path(path)
    networks_path, provenance_path = _companions(path)
    provenance_path.unlink(missing_ok=True)
    rows = table.operators
    numbers = (rows.median_ms, rows.p10_ms, rows.p90_ms, rows.samples, rows.in_network_ms)
    energy = () if rows.energy_mj is None else (rows.energy_mj,)
    written = [operator.to_dict() for operator in rows.operators]
    names = list(dict.fromkeys(name for values in written for name in values))
    content = _csv((*names, *OPERATOR_VALUES, *((ENERGY,) if energy else ())), (
        [*(written[row].get(name, "") for name in names), *(_cell(column[row]) for column in numbers), rows.errors[row],
         *(_cell(column[row]) for column in energy)]
        for row in range(len(rows.operators))
    ))  # fmt: skip
    write_text(path, content)
    nets = table.networks
    more = (nets.median_ms, nets.p10_ms, nets.p90_ms, nets.samples, nets.isolated_sum_ms, nets.held_out_ms)
    content = _csv(NETWORK_VALUES, (
        [json.dumps(arch), *(_cell(column[row]) for column in more)] for row, arch in enumerate(nets.archs)
    ))  # fmt: skip
    write_text(networks_path, content)
    counts = {"operators": len(rows.operators), "networks": len(nets.archs)}
    write_json(provenance_path, {**table.provenance, **counts})
    return path


def read_table(path: Path | str) -> LatencyTable:
    """The table whose operators stand at `path`.

    Raises TableError, naming file and row, for files that are missing, truncated or malformed, for values that are
    not finite and positive, and for operators that occur twice.
    """
    path = Path(path)
    if path.suffix != ".csv":
        raise TableError(f"{path}: expected the path of a table's .csv file")
    networks_path, provenance_path = _companions(path)
    if path.is_file() and not provenance_path.is_file():
        raise TableError(
            f"no such file: {provenance_path}, which hwnas writes last: {_REMEDY}; a table of others is brought in"
            f" with hwnas import-table format=csv path={path}"
        )
    provenance = read_json(provenance_path, TableError)
    if not isinstance(provenance, dict):
        raise TableError(f"{provenance_path}: expected an object; {_REMEDY}")
    if missing := [key for key in PROVENANCE_KEYS if key not in provenance]:
        raise TableError(f"{provenance_path}: lacks {', '.join(missing)}; {_REMEDY}")
    reference = provenance["reference"]
    if not isinstance(reference, dict) or not {"arch", "seed", "latency_ms"} <= set(reference):
        raise TableError(f"{provenance_path}: reference lacks arch, seed or latency_ms; {_REMEDY}")
    operators = _read_operators(path, provenance["operators"])
    return LatencyTable(operators, _read_networks(networks_path, provenance["networks"]), provenance)


_REMEDY = "restore the file or measure the table again with hwnas profile"


def _read_operators(path: Path, expected: object) -> OperatorRows:
    columns = (*_COMMON, *OPERATOR_VALUES)
    found: dict[Operator, int] = {}
    values: list[list[float]] = []
    errors: list[str] = []
    energies: list[float] = []
    table = _read(path, columns, expected, optional=(ENERGY, *all_fields()))
    for row in table.rows:
        try:
            operator = operator_from_text(row.values, _PARSE, complete=True)
        except ValueError as error:
            raise TableError(f"{row.place}: not an operator ({error}); {_REMEDY}") from error
        if operator in found:
            raise TableError(f"{row.place}: {operator} stands in row {found[operator]} already; {_REMEDY}")
        found[operator] = row.line
        rejected = bool(row.values["error"])
        values.append([_number(table, row, key, rejected, operator.is_free) for key in OPERATOR_VALUES[:-1]])
        errors.append(row.values["error"])
        if ENERGY in row.values:
            energies.append(_number(table, row, ENERGY, rejected))
    median, p10, p90, samples, in_network = _columns(values, 5)
    energy = np.array(energies) if energies else None
    return OperatorRows(tuple(found), median, p10, p90, _integers(samples), in_network, tuple(errors), energy)


def _read_networks(path: Path, expected: object) -> NetworkRows:
    archs: list[dict[str, Any]] = []
    values: list[list[float]] = []
    seen: dict[str, int] = {}
    table = _read(path, NETWORK_VALUES, expected)
    for row in table.rows:
        try:
            arch = json.loads(row.values["arch"])
        except json.JSONDecodeError as error:
            raise TableError(f"{row.place}: arch is not JSON ({error}); {_REMEDY}") from error
        key = json.dumps(arch, sort_keys=True)
        if key in seen:
            raise TableError(f"{row.place}: this network stands in row {seen[key]} already; {_REMEDY}")
        seen[key] = row.line
        archs.append(arch)
        optional = ("isolated_sum_ms", "held_out_ms")
        values.append([_number(table, row, key, key in optional) for key in NETWORK_VALUES[1:]])
    median, p10, p90, samples, isolated, held_out = _columns(values, 6)
    return NetworkRows(tuple(archs), median, p10, p90, _integers(samples), isolated, held_out)


def _read(path: Path, columns: Sequence[str], expected: object, optional: Sequence[str] = ()) -> CsvFile:
    """A CSV file of a table, whose header is row 1."""
    table = read_csv(path, TableError, _REMEDY, closed=True, rows_needed=False)
    if "kind" in columns and "kind" in table.columns:
        _check_kinds(table)
    lacking = [column for column in columns if column not in table.columns]
    if (unknown := sorted(set(table.columns) - {*columns, *optional})) or lacking:
        raise TableError(f"{path}, row 1: unknown columns {unknown}, missing {lacking}; {_REMEDY}")
    if len(table.rows) != expected:
        raise TableError(f"{path}: {len(table.rows)} rows, but its provenance counts {expected}; {_REMEDY}")
    return table


def _check_kinds(table: CsvFile) -> None:
    """Raise TableError for the first row of an unknown kind, before its columns are held to be unknown."""
    row = next((row for row in table.rows if row.values["kind"] not in kind_names()), None)
    if row is not None:
        try:
            kind_named(row.values["kind"])
        except ValueError as error:
            raise TableError(f"{row.place}: not an operator ({error}); {_REMEDY}") from error


def _number(table: CsvFile, row: CsvRow, key: str, may_lack: bool, may_be_nothing: bool = False) -> float:
    text = row.values[key]
    if text == "" and may_lack:
        return math.nan
    try:
        value = table.number(text)
    except ValueError:
        value = math.nan
    # A cost inside a network may be estimated as nothing; what was measured may not.
    may_be_nothing = may_be_nothing or key in ("in_network_ms", "samples")
    if not math.isfinite(value) or value < 0 or (value == 0 and not may_be_nothing):
        raise TableError(f"{row.place}: {key} is {text!r}, expected a positive number; {_REMEDY}")
    return value


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(f"{text!r}, expected True or False")
    return text == "True"


_PARSE: dict[type, Callable[[str], Field]] = {int: int, float: float, str: str, bool: _boolean}


def _columns(values: list[list[float]], width: int) -> Floats:
    return np.asarray(np.array(values, dtype=np.float64).reshape(-1, width).T)


def _integers(values: Floats) -> NDArray[np.int64]:
    return np.nan_to_num(values).astype(np.int64)


def _cell(value: Any) -> str:
    return "" if math.isnan(value) else repr(value.item())


def _csv(header: Sequence[str], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
