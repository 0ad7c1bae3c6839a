"""Ctrl-C and SIGTERM: one exception for both, and pieces of work that they wait for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "finished_first", "interrupts_raised"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """By the signal `number`. `kept` says what is not lost, where the work that was interrupted knows."""

    def __init__(self, number: int = signal.SIGINT, kept: str = "") -> None:
        super().__init__()
        self.number, self.kept = number, kept

    @property
    def status(self) -> int:
        """The exit status by the custom of shells: 130 or 143."""
        return 128 + self.number

    @property
    def line(self) -> str:
        """What a user is told."""
        how = "terminated" if self.number == signal.SIGTERM else "interrupted"
        return f"{how}: {self.kept or 'what was finished is kept'}; the same command goes on from there"


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Both signals raise Interrupted in the main thread until the context ends."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise Interrupted(number)

    with _handled(interrupt):
        yield


@contextmanager
def finished_first() -> Iterator[list[int]]:
    """What is within is finished before a signal is heeded; a second signal is not waited with.

    Yields the signals so far. One that is added to them is heeded like one that came.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        noted.append(number)
        if len(noted) > 1:
            raise Interrupted(number)

    with _handled(note):
        yield noted
    if noted:
        raise Interrupted(noted[0])


@contextmanager
def _handled(handler: object) -> Iterator[None]:
    # Only the main thread may; and a signal that is ignored, as under nohup, stays so.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heeded = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for number in heeded:
            signal.signal(number, before[number])
