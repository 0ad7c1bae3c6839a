"""Published latency tables as rows of ours: once-for-all's, ProxylessNAS's, and plain CSV files.

`ofa`: a folder with one YAML file a resolution (see `hwnas.latency.tables.ofa_table`), or one of these files.
`proxyless`: one YAML file, or such a folder, whose older keys give `expand` as a ratio, have neither `se` nor `hs`, and
whose entries have `var` in place of `std`; its `Logits` start at the feature map, which is pooled on the way (Cai et
al., ICLR 2019). `csv`: see `hwnas.latency.tables.csv_rows`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import TableError
from hwnas.latency.tables.csv_rows import Row, read_csv_rows
from hwnas.latency.tables.published_files import PublishedTables, find_tables
from hwnas.latency.tables.published_yaml import Entry, read_entries
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows
from hwnas.operators import Conv, GlobalPool, Linear, MBConv, Operator

__all__ = ["FORMATS", "import_table", "source_files"]

FORMATS = ("ofa", "proxyless", "csv")

_NORMAL_P90 = 1.2816
_SHAPED = re.compile(
    r"(?P<name>\w+)-input:(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)-output:(?:(?P<oh>\d+)x(?P<ow>\d+)x)?(?P<oc>\d+)"
    r"(?:-expand:(?P<expand>\d+)-kernel:(?P<kernel>\d+)-stride:(?P<stride>\d+)-idskip:(?P<skip>[01])"
    r"(?:-se:(?P<se>[01])-hs:(?P<hs>[01]))?)?"
)


def import_table(path: Path | str, kind: str, device: str) -> LatencyTable:
    """The table that stands at `path` in format `kind`, as of `device`; '' takes the device that the files name.

    Where several files hold an operator, as the files of two resolutions do, it gets the mean of all their samples (in
    once-for-all's the median difference is 0.4 %): networks sum to what one file says within 0.1 %.

    Raises TableError, naming file and key or row, for what is missing, malformed or no number.
    """
    path = Path(path)
    rows: dict[Operator, Row] = {}
    if kind == "csv":
        rows = read_csv_rows(path)
    else:
        tables = _tables(path)
        device = device or tables.device
        for file in dict.fromkeys(tables.files.values()):
            for operator, row in _read_yaml(file, _OPERATORS[kind]).items():
                rows[operator] = _pooled(rows[operator], row) if operator in rows else row
    if not device:
        raise TableError(f"{path} doesn't say of which device it is: give device=NAME")
    values = list(rows.values())
    latency, p10, p90 = (np.array([getattr(row, key) for row in values]) for key in ("latency_ms", "p10_ms", "p90_ms"))
    # A table that doesn't know how its samples spread says what it does know.
    p10, p90 = np.where(np.isnan(p10), latency, p10), np.where(np.isnan(p90), latency, p90)
    energy = np.array([row.energy_mj for row in values])
    inside = np.where([row.part_of for row in values], 0.0, latency)
    samples = np.array([row.samples for row in values], dtype=np.int64)
    operators = OperatorRows(
        tuple(rows), latency, p10, p90, samples, inside, ("",) * len(rows), None if np.isnan(energy).all() else energy
    )
    none = np.empty(0)
    provenance: dict[str, Any] = {
        "device": device,
        "runtime": "published",
        "runtime_version": None,
        "precision": None,
        "threads": None,
        "imported": {"format": kind, "from": path.name},
        "reference": {"arch": None, "seed": None, "latency_ms": None},
    }
    return LatencyTable(operators, NetworkRows((), none, none, none, none.astype(np.int64), none, none), provenance)


def source_files(path: Path | str, kind: str) -> list[Path]:
    """The files that `import_table` reads. Raises TableError where it would for their absence."""
    path = Path(path)
    if kind != "csv":
        return list(dict.fromkeys(_tables(path).files.values()))
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise TableError(f"{path}: {found}: expected a CSV file with one operator a row; give path=FILE.csv")
    return [path]


def _tables(path: Path) -> PublishedTables:
    if path.is_dir():
        return find_tables(path)
    if not path.is_file():
        raise TableError(f"no such file or folder: {path}; give path=PATH of a published table")
    try:
        device = find_tables(path).device
    except TableError:  # which resolution a single file is of need not be known
        device = ""
    return PublishedTables(device, {0: path})


def _pooled(first: Row, second: Row) -> Row:
    """The mean over the samples of both; of a spread that one of them doesn't know, the other's."""
    samples = first.samples + second.samples
    share = second.samples / samples
    latency = (1 - share) * first.latency_ms + share * second.latency_ms

    def pooled(values: tuple[float, float]) -> float:
        one, other = values[0] - first.latency_ms, values[1] - second.latency_ms
        if math.isnan(one) or math.isnan(other):
            return latency + (other if math.isnan(one) else one)
        return latency + (1 - share) * one + share * other

    return Row(
        latency,
        pooled((first.p10_ms, second.p10_ms)),
        pooled((first.p90_ms, second.p90_ms)),
        samples,
        part_of=first.part_of and second.part_of,
    )


def _read_yaml(path: Path, operators: Callable[[re.Match[str]], list[Operator]]) -> dict[Operator, Row]:
    rows: dict[Operator, Row] = {}
    for key, entry in read_entries(path).items():
        match = _SHAPED.fullmatch(key)
        found = operators(match) if match else []
        if not found:
            raise TableError(f"{path}: {key!r} is no operator of this format: is format=… the right one?")
        rows[found[0]] = _yaml_row(entry, part_of=False)
        for held in found[1:]:
            rows.setdefault(held, _yaml_row(entry, part_of=True))
    return rows


def _yaml_row(entry: Entry, part_of: bool) -> Row:
    mean, around = entry.mean_ms, _NORMAL_P90 * entry.std_ms
    low = around if math.isnan(around) else max(mean - around, mean / 10)
    return Row(mean, low, mean + around, entry.count, part_of=part_of)


def _ofa_operator(key: re.Match[str]) -> list[Operator]:
    return _operators(key, "h_swish", lambda mid, _: mid)


def _proxyless_operator(key: re.Match[str]) -> list[Operator]:
    return _operators(key, "relu6", lambda ratio, channels: ratio * channels)


_OPERATORS = {"ofa": _ofa_operator, "proxyless": _proxyless_operator}


def _operators(key: re.Match[str], activation: str, mid: Callable[[int, int], int]) -> list[Operator]:
    """The operator of a key, and those that were measured with it; none for an unknown key."""
    name = key["name"]
    height, width, into, out = (int(key[part]) for part in ("h", "w", "c", "oc"))
    if name == "expanded_conv":
        if key["expand"] is None or (key["hs"] is None) != (activation == "relu6"):
            return []
        if key["hs"] is not None:
            activation = "h_swish" if key["hs"] == "1" else "relu"
        return [
            MBConv(height, width, into, out, mid_channels=mid(int(key["expand"]), into),
                kernel=int(key["kernel"]), stride=int(key["stride"]), residual=key["skip"] == "1",
                se=key["se"] == "1", activation=activation,
            )
        ]  # fmt: skip
    if name == "Logits":
        pooled = [GlobalPool(height, width, into, into)] if height * width > 1 else []
        return [Linear(1, 1, into, out), *pooled]
    if name == "AvgPool2D":
        return [GlobalPool(height, width, into, out)]
    if name == "Conv" and key["oh"]:
        stride = -(-height // int(key["oh"]))
        return [Conv(height, width, into, out, kernel=3, stride=stride, activation=activation)]
    if name in ("Conv_1", "Conv_2"):
        return [Conv(height, width, into, out, activation=activation, norm=name == "Conv_1")]
    return []
