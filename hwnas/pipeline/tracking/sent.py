"""What a tracker got of a run's folder so far, so that the next command sends the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwnas.errors import StorageError
from hwnas.files import LOCK_NAME, locked, read_json, write_json
from hwnas.pipeline.store.plain import from_plain, to_plain
from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.tracker import Row

__all__ = ["Sent", "SentPart"]


@dataclass(frozen=True)
class SentPart:
    """Of a step: its `inputs`, the `stamp` of its files, and where its curves end: `step` and its `events`."""

    inputs: str | None = None
    stamp: str = ""
    step: int = -1
    events: tuple[str, ...] = ()

    def after(self, rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
        """Those of `rows` that were not sent: a training that goes on from a checkpoint writes some again."""
        return [
            (event, row)
            for event, row in rows
            if row[0] > self.step or (row[0] == self.step and event not in self.events)
        ]

    def with_rows(self, rows: Sequence[tuple[str, Row]]) -> SentPart:
        """This, and `rows` of `after`."""
        if not rows:
            return self
        step = rows[-1][1][0]
        events = tuple(event for event, row in rows if row[0] == step)
        return replace(self, step=step, events=(*(self.events if step == self.step else ()), *events))


@dataclass(frozen=True)
class Sent:
    """`run_id`: the run in the tracker at `uri`; `parts` by their names."""

    run_id: str | None = None
    uri: str | None = None
    parts: dict[str, SentPart] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, config: TrackingConfig) -> Sent:
        """What `folder` says of the tracker; nothing where it is another, or the file is none."""
        try:
            found = from_plain(cls, read_json(cls.path(folder, config)), folder)
        except StorageError:
            return cls(uri=config.uri)
        return found if found.uri == config.uri else cls(uri=config.uri)

    @staticmethod
    def path(folder: Path, config: TrackingConfig) -> Path:
        """Where it is kept."""
        return folder / f"{config.tracker}.json"

    def with_part(self, name: str, part: SentPart, folder: Path, config: TrackingConfig) -> Sent:
        """This with a part, also in its file; what another process wrote of the same run meanwhile stays."""
        with locked(folder / LOCK_NAME):
            others = Sent.read(folder, config)
            parts = {**self.parts, **(others.parts if others.run_id == self.run_id else {}), name: part}
            found = replace(self, parts=parts)
            write_json(self.path(folder, config), to_plain(found))
        return found
