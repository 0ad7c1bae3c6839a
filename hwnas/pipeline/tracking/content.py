"""What a step's folder holds, in a tracker's terms."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwnas.errors import StorageError
from hwnas.files import read_json, sha256_of_file, sha256_of_json
from hwnas.pipeline.tracking.tracker import FOLDER, Row

__all__ = ["Part", "flat_settings"]

_RESULT, _INPUTS, _TABLE = "result.json", "inputs.json", "training.csv"
_PLACES = ("event", "phase", "step", "epoch", "elapsed_s", "left_s")
"""Columns of a training's table that say when a row was written. The others are its curves."""

_WORKING = {"checkpoints", "tensorboard", "state", "superseded", "multirun", FOLDER, "teacher.safetensors"}
"""Files and folders that a step goes on from where it was killed, or that are of other settings."""

_DESCRIBING = {"space", "arch", "provenance"}
"""Keys of results whose numbers are settings."""


@dataclass(frozen=True)
class Part:
    """A step's `folder`, called `name`. `is_run`: the folder of a whole run, whose steps are parts of their own."""

    name: str
    folder: Path
    is_run: bool = False

    @property
    def inputs(self) -> str | None:
        """What identifies the step's settings; None while there are none. Of a whole run its steps' do."""
        path = self.folder / _INPUTS
        try:
            return None if self.is_run else sha256_of_file(path)
        except OSError:
            return None

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return (self.folder / _RESULT).is_file()

    def changed_since(self, moment: float) -> bool:
        """Whether a training wrote rows after `moment`, seconds since the epoch."""
        try:
            return (self.folder / _TABLE).stat().st_mtime >= moment
        except OSError:
            return False

    def rows(self) -> list[tuple[str, Row]]:
        """The rows of a training so far, each with what it is (event and phase), without one half written."""
        try:
            text = (self.folder / _TABLE).read_text()
        except OSError:
            return []
        found: list[tuple[str, Row]] = []
        for row in csv.DictReader(text[: text.rfind("\n") + 1].splitlines()):
            values = {key: _number(value) for key, value in row.items() if key not in _PLACES}
            known = {key: value for key, value in values.items() if value is not None}
            found.append((f"{row['event']} {row['phase']}", (int(row["step"]), known)))
        return found

    def files(self) -> dict[str, Path]:
        """What is kept of a finished step, by its path below the step's folder."""
        return {path.relative_to(self.folder).as_posix(): path for path in _kept(self.folder, not self.is_run)}

    def stamp(self) -> str:
        """Differs where any of `files` does."""
        states = {name: path.stat() for name, path in self.files().items()}
        return sha256_of_json({name: [state.st_size, state.st_mtime_ns] for name, state in states.items()})

    def result(self) -> dict[str, Any]:
        """The result, empty where there is none."""
        try:
            document = read_json(self.folder / _RESULT)
        except StorageError:
            return {}
        result = document.get("result") if isinstance(document, dict) else None
        return {**result, "elapsed_s": document.get("elapsed_s")} if isinstance(result, dict) else {}

    def figures(self) -> dict[str, float]:
        """The numbers of the result by the names that they have there; those of targets by their ids."""
        return dict(_numbers(self.result(), self.name))

    def tables(self) -> dict[str, tuple[list[str], list[list[object]]]]:
        """Columns and rows of what the result has a list of, with ids."""
        found = {}
        for key, entries in self.result().items():
            if _have_ids(entries):
                plain = [{name: one for name, one in entry.items() if _is_plain(one)} for entry in entries]
                columns = list(dict.fromkeys(name for entry in plain for name in entry))
                found[f"{self.name}.{key}"] = columns, [[entry.get(name) for name in columns] for entry in plain]
        return found


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by their keys on the command line; lists as JSON."""
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat_settings(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def _kept(folder: Path, below: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _WORKING or path.name.startswith(".") or path.suffix == ".log" or path.is_symlink():
            continue
        if path.is_file():
            yield path
        elif below and not (path / _RESULT).exists():  # else a step of its own
            yield from _kept(path, below)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _DESCRIBING:
                yield from _numbers(one, f"{name}.{key}")
    elif _have_ids(value):
        for entry in value:
            yield from _numbers(entry, f"{name}.{entry['id']}")
    elif isinstance(value, (int, float)) and math.isfinite(value):
        yield name, float(value)


def _have_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "id" in one for one in value)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float))
