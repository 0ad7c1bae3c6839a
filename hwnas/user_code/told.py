"""What an exception of the user's code says, and where in their file it was raised."""

from __future__ import annotations

import linecache
import os
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hwnas.user_code.imports import is_own

__all__ = ["Told", "told"]

_LENGTH = 300


@dataclass(frozen=True)
class Told:
    """Type, message on one line, ` at file.py:12` where that is known, and what stands there. As text: all but that."""

    kind: str
    message: str
    place: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{f': {self.message}' if self.message else ''}{self.place}"


def told(error: BaseException) -> Told:
    """What is to be said of an exception. An assertion without a message is told by its line."""
    found = next(filter(None, map(_own_place, _chain(error))), None)
    message = " ".join(str(error).split())
    line = "" if found is None else linecache.getline(*found).strip()
    message = message or line
    message = _cut(message)
    if error.__cause__ is not None and _own_words(error.__cause__) not in message:
        message += f" (from {_cut(_own_words(error.__cause__))})"
    return Told(type(error).__name__, message, "" if found is None else f" at {_short(found[0])}:{found[1]}", line)


def _own_words(error: BaseException) -> str:
    while error.__cause__ is not None:  # the first cause says most
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and those that it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__  # type: ignore[assignment]


def _own_place(error: BaseException) -> tuple[str, int] | None:
    """File and line of the innermost frame in the user's code."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno
    frames = [(entry.filename, entry.lineno or 0) for entry in traceback.extract_tb(error.__traceback__)]
    return next((place for place in reversed(frames) if is_own(place[0])), None)


def _short(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else Path(relative).as_posix()
