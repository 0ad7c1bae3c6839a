"""Names for people of class folders, from a file. Standard library only."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from hwnas.data.folders import listed
from hwnas.errors import DataError

__all__ = ["class_names", "shared_names"]

_EXPECTED = 'expected a JSON object {"folder": "name", …}, or a line `folder name` each'


def class_names(folders: tuple[str, ...], path: str | None) -> tuple[str, ...]:
    """The names of class `folders` (in Unicode's composed form) that the file `path` gives: a JSON object, or a line
    `folder name` each, a tab between them where folders have spaces. UTF-8, with or without a byte-order mark.

    The folders themselves where `path` is None. Raises DataError for an unreadable file, a folder that it lacks or
    names twice, and a name that isn't text on one line.
    """
    if path is None:
        return folders
    known = set(folders)
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
        pairs = _from_json(text) if text.lstrip()[:1] in ("{", "[") else _from_lines(text)
    except UnicodeDecodeError as error:
        raise DataError(
            f"data.class_names={path}: expected text in UTF-8, got byte 0x{error.object[error.start]:02x} at position"
            f" {error.start}: save the file as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"data.class_names={path} cannot be read ({error}): {_EXPECTED}") from error
    names: dict[str, str] = {}
    for folder, name in pairs:
        if (composed := unicodedata.normalize("NFC", folder.strip())) not in known:
            continue
        if not isinstance(name, str) or len(name.strip().splitlines()) > 1:
            raise DataError(f"data.class_names={path}: {folder} is named {name!r}, no text on one line; {_EXPECTED}")
        if names.setdefault(composed, name.strip()) != name.strip():
            raise DataError(
                f"data.class_names={path} names {folder} twice, {names[composed]!r} and {name.strip()!r}: remove one"
            )
    if missing := [folder for folder in folders if not names.get(folder)]:
        raise DataError(f"data.class_names={path} names no class for {listed(missing)}: add a line `folder name` each")
    return tuple(names[folder] for folder in folders)


def shared_names(folders: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """A line for people for each name that several of `folders` have."""
    having: dict[str, list[str]] = {}
    for folder, name in zip(folders, names, strict=True):
        having.setdefault(name, []).append(folder)
    return tuple(f"classes {listed(each)} are all called {name!r}" for name, each in having.items() if len(each) > 1)


def _from_json(text: str) -> Iterable[tuple[str, object]]:
    # As pairs, since a dict would keep the last of two entries of one folder without a word.
    pairs = json.loads(text, object_pairs_hook=lambda entries: [(str(folder), name) for folder, name in entries])
    if not text.lstrip().startswith("{"):
        raise ValueError(f"it holds a {type(pairs).__name__}")
    return list[tuple[str, object]](pairs)


def _from_lines(text: str) -> Iterable[tuple[str, object]]:
    for line in text.split("\n"):
        stripped = line.strip()
        folder, *name = stripped.split("\t" if "\t" in stripped else None, maxsplit=1) or [""]
        if name:
            yield folder, name[0]
