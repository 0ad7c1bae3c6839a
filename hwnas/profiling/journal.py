"""The journal of a measurement: every event of the agent, kept as it comes, so that a killed run goes on."""

from __future__ import annotations

import json
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from hwnas.errors import StorageError
from hwnas.files import locked

__all__ = ["Journal", "read_events"]


class Journal:
    """A file of JSON lines. The first says which measurement it is of; a journal of another one is started anew.

    From its opening to its closing no other process has it: StorageError where one has.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        with ExitStack() as opening:
            opening.enter_context(locked(path.with_name(f".{path.name}.lock")))
            found = _read(path)
            try:
                if found and found[0] == {"identity": identity}:
                    self.events = found[1:]
                    _cut_torn_line(path)
                else:
                    path.write_text(json.dumps({"identity": identity}) + "\n")
                self._file = opening.enter_context(path.open("a"))
            except OSError as error:
                raise StorageError(f"cannot write {path}: {error.strerror}") from error
            self._open = opening.pop_all()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, event: dict[str, Any]) -> None:
        """Adds one event and hands it to the operating system."""
        try:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}; free space and run the same command again"
            ) from error
        self.events.append(event)

    def close(self) -> None:
        self._open.close()


def read_events(path: Path, identity: dict[str, Any]) -> list[dict[str, Any]]:
    """The events in a journal of the measurement `identity`, which another process may be writing; else none."""
    found = _read(path)
    return found[1:] if found and found[0] == {"identity": identity} else []


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a journal; nothing from the first one on that is torn."""
    events: list[dict[str, Any]] = []
    if path.is_file():
        with suppress(json.JSONDecodeError):
            events.extend(json.loads(line) for line in path.read_text(errors="replace").splitlines())
    return events


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
