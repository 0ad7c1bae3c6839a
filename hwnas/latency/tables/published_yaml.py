"""The entries of a published YAML table: `operator key: {count, mean, std or var}`, in ms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import TableError

__all__ = ["Entry", "read_entries"]

# YAML 1.1 takes 1e-3 for text.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Entry:
    """One operator's latency over `count` measurements. `std_ms` is NaN where the file doesn't know it."""

    mean_ms: float
    std_ms: float
    count: int


def read_entries(path: Path) -> dict[str, Entry]:
    """The entries of the table at `path` by key.

    Raises TableError, naming file, key, field and value, for what is missing, no YAML, stands there twice or is none of
    a positive mean, a spread that is a number from 0 on, or unknown (NaN, null, left out), and a count from 1 on.
    """
    try:
        # As bytes, whose marks say the encoding.
        entries = yaml.load(path.read_bytes(), Loader=_Loader)  # noqa: S506 - a safe loader
    except _TwiceError as error:
        raise TableError(f"{path}: {error}: expected each operator, and each of its fields, once") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise TableError(f"{path} is not a readable YAML table ({first}); restore the file") from error
    if not isinstance(entries, dict) or not entries:
        found = {list: "a list", type(None): "an empty file", dict: "none"}.get(type(entries), f"{entries!r:.40}")
        raise TableError(
            f"{path}: expected a mapping from operators to their latency, such as Logits-input:1x1x1536-output:1000"
            f" to {{count: 498, mean: 0.5, std: 0.01}}, got {found}"
        )
    return {str(key): _entry(f"{path}: {key}", entry) for key, entry in entries.items()}


def _entry(place: str, entry: Any) -> Entry:
    if not isinstance(entry, Mapping):
        raise TableError(f"{place}: expected a mean in ms, got {entry!r:.40}; expected count, mean and std or var")
    if "mean" not in entry:
        raise TableError(f"{place}: expected a mean in ms, got only {', '.join(map(str, entry)) or 'nothing'}")
    mean = _number(place, "mean", entry["mean"])
    if not (math.isfinite(mean) and mean > 0):
        raise TableError(f"{place}: mean is {mean}, expected a positive number of ms")
    spreads = {field: _spread(place, field, entry.get(field)) for field in ("std", "var")}
    std = math.sqrt(spreads["var"]) if math.isnan(spreads["std"]) else spreads["std"]
    found = entry.get("count")
    count = 1.0 if found is None else _number(place, "count", found)
    if not (count.is_integer() and count >= 1):
        raise TableError(f"{place}: count is {found}, expected a whole number from 1 on")
    return Entry(mean, std, int(count))


def _spread(place: str, field: str, found: Any) -> float:
    value = math.nan if found is None else _number(place, field, found)
    if value < 0 or math.isinf(value):
        raise TableError(f"{place}: {field} is {value}, expected a number from 0 on, or .nan where it is not known")
    return value


def _number(place: str, field: str, found: Any) -> float:
    if isinstance(found, str) and _NUMBER.fullmatch(found):
        return float(found)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise TableError(f"{place}: {field} is {found!r:.40}, expected a number")
    try:
        return float(found)
    except OverflowError:
        return math.inf


class _TwiceError(Exception):
    pass


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice in a mapping, of which YAML's own loader takes the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _TwiceError(f"{key.value} stands in lines {seen[key.value]} and {line}")
            seen[str(key.value)] = line
        return super().construct_mapping(node, deep)
