"""A thread that talks to the tracker, so that nobody waits for one that does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.sender import Sender

__all__ = ["Courier"]

_POLL_S = 2.0
_PATIENCE = 4  # timeouts: a request is made twice, and libraries wait between the two


class Courier:
    """Does what is to be delivered, one after another, and `poll` now and then.

    What raises, or is not done after `tracking.timeout_s` several times over, is the last that is tried: `say` is told
    why in one line. `folder` is where the next command finds what was sent until then.
    """

    def __init__(
        self,
        config: TrackingConfig,
        folder: Path,
        sender: Sender,
        poll: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._config, self._folder, self._sender, self._poll, self._say = config, folder, sender, poll, say
        self._lost = threading.Event()
        self._telling = threading.Lock()
        self._work: SimpleQueue[tuple[Callable[[], None], threading.Event] | None] = SimpleQueue()
        # A daemon: a library that never comes back does not keep the process.
        self._thread = threading.Thread(target=self._serve, name="hwnas-tracking", daemon=True)
        self._thread.start()

    def deliver(self, work: Callable[[], None]) -> None:
        """Returns when it is done, or the tracker is given up."""
        done = threading.Event()
        self._sender.answered_at = time.monotonic()
        self._work.put((work, done))
        patience_s = _PATIENCE * self._config.timeout_s
        while not self._lost.is_set() and not done.wait(min(0.2, patience_s)):
            if time.monotonic() > self._sender.answered_at + self._sender.allowance_s + patience_s:
                self._lose(f"no answer within {patience_s:g} s")

    def close(self) -> None:
        """After the last delivery."""
        self._work.put(None)
        if not self._lost.is_set():
            self._thread.join(self._config.timeout_s)

    def _serve(self) -> None:
        while not self._lost.is_set():
            done = None
            try:
                got = self._work.get(timeout=_POLL_S)
                if got is None:
                    return
                work, done = got
            except Empty:
                work = self._poll
            try:
                work()
            except Exception as error:  # noqa: BLE001  # whatever the tracker's library, or the disk, raises
                self._lose(" ".join(str(error).split()) or type(error).__name__)
            if done is not None:
                done.set()

    def _lose(self, reason: str) -> None:
        with self._telling:
            if self._lost.is_set():
                return
            self._lost.set()
        self._sender.stop()
        self._say(
            f"tracking={self._config.tracker}: given up ({reason[:200]}); the run goes on without it, and the next"
            f" command with tracking sends what is missing, by {self._sender.memory}"
        )
