"""Follows a run's folder: what its steps write there goes to the tracker, too.

Steps know nothing of it. A thread reads the rows of a training while they are written; the rest of a step is sent when
it is done, before the next one begins, so that nothing is sent while latencies are measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.content import Part, flat_settings
from hwnas.pipeline.tracking.courier import Courier
from hwnas.pipeline.tracking.sender import Sender
from hwnas.pipeline.tracking.tracker import FOLDER, check_installed

__all__ = ["tracked"]

_RUN = "run"


@contextmanager
def tracked(
    config: TrackingConfig, command: str, folder: Path, settings: Mapping[str, Any], say: Callable[[str], None]
) -> Iterator[None]:
    """While `command`, a step with `settings`, writes to `folder`, the tracker of `config` gets it as well.

    A step of a run that is followed is part of it. Raises MissingExtraError where the tracker's library is not
    installed. A tracker that does not answer is told of in one line by `say`, and left alone from then on.
    """
    outer = _following.get()
    if outer is not None:
        with outer.step(folder):
            yield
        return
    if config.tracker == "none":
        yield
        return
    check_installed(config)
    root = folder.parent if command != _RUN and folder.name == command else folder
    follower = _Follower(config, root.absolute(), command, settings, say)
    token = _following.set(follower)
    status = "failed"
    try:
        with follower.step(folder):
            yield
        status = "finished"
    except KeyboardInterrupt:
        status = "killed"
        raise
    finally:
        _following.reset(token)
        follower.close(status)


class _Follower:
    """What follows the run in the folder `root`, which `command` was started for."""

    def __init__(
        self, config: TrackingConfig, root: Path, command: str, settings: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self._root, self._command = root, command
        self._sender = Sender(config, root, flat_settings(settings))
        self._active: tuple[Part, float] | None = None
        self._courier = Courier(config, root / FOLDER, self._sender, self._poll, say)

    @contextmanager
    def step(self, folder: Path) -> Iterator[None]:
        """While the step in `folder` is made. When it is left, what it wrote is sent, whether it is done or not."""
        folder = folder.absolute()
        if folder != self._root and self._root not in folder.parents:
            yield
            return
        name = self._command if folder == self._root else folder.relative_to(self._root).as_posix()
        part = Part(name, folder, is_run=folder == self._root and self._command == _RUN)
        before, self._active = self._active, (part, time.time())
        try:
            yield
        finally:
            began = self._active[1]
            self._active = None  # what is left is sent at once
            self._courier.deliver(lambda: self._sender.send(part, began))
            self._active = before

    def close(self, status: str) -> None:
        """Ends the run in the tracker, as far as this process goes."""
        self._courier.deliver(lambda: self._sender.close(status))
        self._courier.close()

    def _poll(self) -> None:
        if (active := self._active) is not None:
            self._sender.send_rows(*active)


_following: ContextVar[_Follower | None] = ContextVar("following", default=None)
"""Steps that a run makes are told by it that they are part of it."""
