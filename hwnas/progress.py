"""How long work tells how far it is: one callable, passed down; the command line draws the bar."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "no_progress", "part", "silent"]

Progress = Callable[[float, str], None]
"""Called with the share done, in [0, 1], and a short status such as `loss 0.41`."""


def no_progress(share: float, status: str) -> None:
    """For callers that show nothing."""


def silent(message: str) -> None:
    """For work whose messages are said elsewhere."""


def part(progress: Progress, number: int, parts: int) -> Progress:
    """The progress of one of equal parts: its shares are put where it stands in the whole."""
    return lambda share, status: progress((number + share) / parts, status)
