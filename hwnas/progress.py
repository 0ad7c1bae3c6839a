"""How long work tells how far it is: one callable, passed down; the command line draws the bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["SILENT", "Progress", "Reporter", "no_progress", "part", "silent", "time_in_words"]

Progress = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a short status such as `loss 0.41`."""


def no_progress(share: float, status: str) -> None:
    """For callers that show nothing."""


def silent(message: str) -> None:
    """For work whose messages are said elsewhere."""


def part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one of equal parts: its shares are put where it stands in the whole."""
    return lambda share, status: progress((number + share) / parts, status)


def time_in_words(seconds: float) -> str:
    """Such as `40 s`, `12 min` or `3.5 h`, as exact as a forecast is."""
    if seconds > 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


class Reporter(Protocol):
    """What a step tells while it works. The command line prints it; a caller without a terminal takes `SILENT`."""

    def say(self, text: str) -> None:
        """One line."""
        ...

    def note(self, text: str) -> None:
        """One line, once, however many steps come upon it."""
        ...

    def step(self, title: str) -> AbstractContextManager[Progress]:
        """What is begun, until the context ends, and how far it is."""
        ...


class _Silent:
    def __repr__(self) -> str:
        return "SILENT"

    def say(self, text: str) -> None:
        """Nothing is shown."""

    def note(self, text: str) -> None:
        """Nothing is shown."""

    def step(self, title: str) -> AbstractContextManager[Progress]:  # noqa: ARG002
        return nullcontext(no_progress)


SILENT: Reporter = _Silent()
