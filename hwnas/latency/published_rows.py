"""Published latency tables as rows of ours: once-for-all's, ProxylessNAS's, and plain CSV files.

`ofa`: a folder with one YAML file a resolution (see `hwnas.latency.ofa_table`), or one of these files. `proxyless`: one
YAML file, whose older keys give `expand` as a ratio, have neither `se` nor `hs`, and whose entries have `var` in place
of `std`; its `Logits` start at the feature map, which is pooled on the way (Cai et al., ICLR 2019). `csv`: one operator
a row, columns named as the fields of `Operator`, with `latency_ms` and, where known, `p10_ms`, `p90_ms`, `samples`,
`energy_mj`.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hwnas.errors import TableError
from hwnas.latency.ofa_table import published_files
from hwnas.latency.table import ENERGY, LatencyTable, NetworkRows, OperatorRows
from hwnas.spaces import Operator

__all__ = ["FORMATS", "import_table"]

FORMATS = ("ofa", "proxyless", "csv")

_NORMAL_P90 = 1.2816
_SHAPED = re.compile(
    r"(?P<name>\w+)-input:(?P<h>\d+)x(?P<w>\d+)x(?P<c>\d+)-output:(?:(?P<oh>\d+)x(?P<ow>\d+)x)?(?P<oc>\d+)"
    r"(?:-expand:(?P<expand>\d+)-kernel:(?P<kernel>\d+)-stride:(?P<stride>\d+)-idskip:(?P<skip>[01])"
    r"(?:-se:(?P<se>[01])-hs:(?P<hs>[01]))?)?"
)


@dataclass(frozen=True)
class _Row:
    """One operator, in ms; `part_of`: what it was measured within, where not by itself."""

    latency_ms: float
    p10_ms: float
    p90_ms: float
    samples: int
    energy_mj: float = math.nan
    part_of: bool = False


def import_table(path: Path | str, kind: str, device: str) -> LatencyTable:
    """The table that stands at `path` in format `kind`, as of `device`; '' takes the device that the files name.

    Where several files hold an operator, as the files of two resolutions do, it gets the mean of all their samples (in
    once-for-all's the median difference is 0.4 %): networks sum to what one file says within 0.1 %.

    Raises TableError, naming file and key or row, for what is missing, malformed or no number.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"no such file or folder: {path}; give path=PATH of a published table")
    rows: dict[Operator, _Row] = {}
    if kind == "ofa":
        named, files = published_files(path) if path.is_dir() else ("", {0: path})
        for _, file in sorted(files.items()):
            for operator, row in _read_yaml(file, _ofa_operator).items():
                rows[operator] = _pooled(rows[operator], row) if operator in rows else row
        device = device or named
    elif kind == "proxyless":
        rows = _read_yaml(path, _proxyless_operator)
    else:
        rows = _read_csv(path)
    if not device:
        raise TableError(f"{path} doesn't say of which device it is: give device=NAME")
    values = list(rows.values())
    latency, p10, p90 = (np.array([getattr(row, key) for row in values]) for key in ("latency_ms", "p10_ms", "p90_ms"))
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


def _pooled(first: _Row, second: _Row) -> _Row:
    """The mean over the samples of both."""
    samples = first.samples + second.samples
    share = second.samples / samples
    values = [
        (1 - share) * getattr(first, key) + share * getattr(second, key) for key in ("latency_ms", "p10_ms", "p90_ms")
    ]
    return _Row(values[0], values[1], values[2], samples)


def _read_yaml(path: Path, operators: Callable[[re.Match[str]], list[Operator]]) -> dict[Operator, _Row]:
    try:
        entries = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TableError(f"{path} is not a readable YAML table ({str(error).splitlines()[0]})") from error
    if not isinstance(entries, dict) or not entries:
        raise TableError(f"{path}: expected a mapping from operators to their latency")
    rows: dict[Operator, _Row] = {}
    for key, entry in entries.items():
        match = _SHAPED.fullmatch(str(key))
        found = operators(match) if match else []
        if not found:
            raise TableError(f"{path}: {key!r} is no operator of this format: is format=… the right one?")
        row = _yaml_row(path, key, entry)
        rows[found[0]] = row
        for held in found[1:]:
            rows[held] = _Row(row.latency_ms, row.p10_ms, row.p90_ms, row.samples, part_of=True)
    return rows


def _yaml_row(path: Path, key: object, entry: object) -> _Row:
    if not isinstance(entry, Mapping):
        raise TableError(f"{path}: {key}: expected count, mean and std or var, got {entry!r}")
    try:
        mean, count = float(entry["mean"]), int(entry.get("count", 1))
        spread = float(entry["std"]) if "std" in entry else math.sqrt(float(entry.get("var", 0.0)))
    except (KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path}: {key}: expected count, mean and std or var as numbers ({error})") from error
    if not (math.isfinite(mean) and mean > 0 and math.isfinite(spread) and count > 0):
        raise TableError(f"{path}: {key}: mean is {mean}, expected a positive number")
    low = max(mean - _NORMAL_P90 * spread, mean / 10)
    return _Row(mean, low, mean + _NORMAL_P90 * spread, count)


def _ofa_operator(key: re.Match[str]) -> list[Operator]:
    return _operators(key, "h_swish", lambda mid, _: mid)


def _proxyless_operator(key: re.Match[str]) -> list[Operator]:
    return _operators(key, "relu6", lambda ratio, channels: ratio * channels)


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
            Operator(
                "mbconv", height, width, into, out, mid_channels=mid(int(key["expand"]), into),
                kernel=int(key["kernel"]), stride=int(key["stride"]), residual=key["skip"] == "1",
                se=key["se"] == "1", activation=activation,
            )
        ]  # fmt: skip
    if name == "Logits":
        pooled = [Operator("pool", height, width, into, into)] if height * width > 1 else []
        return [Operator("linear", 1, 1, into, out), *pooled]
    if name == "AvgPool2D":
        return [Operator("pool", height, width, into, out)]
    if name == "Conv" and key["oh"]:
        stride = -(-height // int(key["oh"]))
        return [Operator("conv", height, width, into, out, kernel=3, stride=stride, activation=activation)]
    if name in ("Conv_1", "Conv_2"):
        return [Operator("conv", height, width, into, out, activation=activation, norm=name == "Conv_1")]
    return []


def _read_csv(path: Path) -> dict[Operator, _Row]:
    try:
        lines = list(csv.DictReader(io.StringIO(path.read_text())))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is not a readable CSV table ({error})") from error
    optional = ("p10_ms", "p90_ms", "samples", ENERGY)
    known = (*Operator.field_names(), "latency_ms", *optional)
    needed = [*(field.name for field in fields(Operator) if field.default is MISSING), "latency_ms"]
    header = list(lines[0]) if lines else []
    if not lines or set(header) - set(known) or set(needed) - set(header):
        raise TableError(
            f"{path}, row 1: unknown columns {sorted(map(str, set(header) - set(known)))}, missing"
            f" {[key for key in needed if key not in header]}; a row holds an operator: {', '.join(known)}"
        )
    rows: dict[Operator, _Row] = {}
    for number, line in enumerate(lines, start=2):
        try:
            given = {key: line[key] for key in Operator.field_names() if line.get(key) not in (None, "")}
            operator = Operator(**{key: _PARSE[key](value) for key, value in given.items()})
            numbers = {key: float(line[key]) for key in ("latency_ms", *optional) if line.get(key) not in (None, "")}
        except (KeyError, TypeError, ValueError) as error:
            raise TableError(f"{path}, row {number}: not an operator with its latency ({error})") from error
        if operator in rows:
            raise TableError(f"{path}, row {number}: {operator} stands there twice")
        if wrong := [key for key, value in numbers.items() if not (math.isfinite(value) and value > 0)]:
            raise TableError(f"{path}, row {number}: {wrong[0]} is {numbers[wrong[0]]}, expected a positive number")
        latency = numbers["latency_ms"]
        rows[operator] = _Row(
            latency, numbers.get("p10_ms", latency), numbers.get("p90_ms", latency), int(numbers.get("samples", 1)),
            numbers.get(ENERGY, math.nan),
        )  # fmt: skip
    if 0 < sum(math.isnan(row.energy_mj) for row in rows.values()) < len(rows):
        raise TableError(f"{path}: {ENERGY} is given for some operators only: fill the column or leave it out")
    return rows


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_TYPES: dict[str, Callable[[str], Any]] = {"int": int, "str": str, "bool": lambda text: _BOOLEANS[text.lower()]}
_PARSE = {field.name: _TYPES[str(field.type)] for field in fields(Operator)}
