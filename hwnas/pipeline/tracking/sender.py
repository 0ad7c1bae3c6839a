"""What of a run's folder a tracker does not have yet, and sending it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hwnas.pipeline.store.folders import MULTIRUN
from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.content import Part
from hwnas.pipeline.tracking.sent import Sent, SentPart
from hwnas.pipeline.tracking.tracker import FOLDER, Tracker, open_tracker

__all__ = ["Sender"]

_OPENING_S = 60.0  # a library is imported, and a database made
_BYTES_PER_S = 1e6
_ROWS = 500  # at a time


class Sender:
    """Sends parts of the run in `root` to the tracker's run of that folder, which is made with the first of them.

    A part that was made of other inputs than it was when it was sent is of another run: a new one begins. All may raise
    what the tracker's library raises.
    """

    def __init__(self, config: TrackingConfig, root: Path, settings: Mapping[str, str]) -> None:
        self._config, self._root, self._settings = config, root, settings
        self._folder = root / FOLDER
        self._sent = Sent.read(self._folder, config)
        self._tracker: Tracker | None = None
        self._stopped = False
        self.answered_at, self.allowance_s = time.monotonic(), 0.0

    @property
    def memory(self) -> Path:
        """The file that says what was sent."""
        return Sent.path(self._folder, self._config)

    def send_rows(self, part: Part, since: float) -> None:
        """The rows of a training that writes since that moment."""
        if not part.changed_since(since) or (inputs := part.inputs) is None:
            return
        if not self._known(part, inputs).after(part.rows()):
            return
        self._opened()  # which may find that the tracker's run is gone, and all is to be sent
        known = self._known(part, inputs)
        rows = known.after(part.rows())
        for start in range(0, len(rows), _ROWS):
            batch = rows[start : start + _ROWS]
            self._opened().curves(part.name, [row for _, row in batch])
            known = known.with_rows(batch)
            self._keep(part, known)

    def send(self, part: Part, since: float) -> None:
        """All of a part that is done; of one that is not, its rows."""
        if not part.is_done:
            self.send_rows(part, since)
            return
        known, stamp = self._known(part, part.inputs), part.stamp()
        if known.stamp == stamp:
            return
        tracker = self._opened()
        self.send_rows(part, 0.0)
        tracker.figures(part.figures())
        self.tick()
        for name, (columns, rows) in part.tables().items():
            tracker.table(name, columns, rows)
            self.tick()
        if self._config.files:
            where = "" if part.folder == self._root else f"{part.folder.relative_to(self._root).as_posix()}/"
            files = {f"{where}{name}": path for name, path in part.files().items()}
            self.tick(sum(path.stat().st_size for path in files.values()))
            tracker.files(part.name, files)
        self._keep(part, replace(self._known(part, part.inputs), stamp=stamp))

    def close(self, status: str) -> None:
        """Nothing more comes."""
        if self._tracker is not None:
            self._tracker.close(status)

    def stop(self) -> None:
        """What is under way is not gone on with."""
        self._stopped = True

    def tick(self, size: int = 0) -> None:
        """The tracker answered, and gets so many bytes next."""
        if self._stopped:
            raise TimeoutError("given up")
        self.answered_at, self.allowance_s = time.monotonic(), size / _BYTES_PER_S

    def _known(self, part: Part, inputs: str | None) -> SentPart:
        known = self._sent.parts.get(part.name, SentPart(inputs))
        if known.inputs != inputs:
            if self._tracker is not None:
                self._tracker.close("killed")
                self._tracker = None
            self._sent, known = Sent(uri=self._config.uri), SentPart(inputs)
        return known

    def _opened(self) -> Tracker:
        if self._tracker is None:
            self.tick()
            self.allowance_s = _OPENING_S
            whose = self._root.parent.parent.name + "/" if self._root.parent.name == MULTIRUN else ""
            self._tracker = open_tracker(
                self._config, self._folder, self._sent.run_id, whose + self._root.resolve().name
            )
            if self._tracker.id != self._sent.run_id:
                self._sent = Sent(self._tracker.id, self._config.uri)
            self.tick()
            self._tracker.settings(self._settings)
            self.tick()
        return self._tracker

    def _keep(self, part: Part, known: SentPart) -> None:
        self.tick()
        self._sent = self._sent.with_part(part.name, known, self._folder, self._config)
