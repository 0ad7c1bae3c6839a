"""Work in other processes whose log entries come back with it, so that one log holds all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from logging.handlers import QueueHandler
from queue import SimpleQueue

from hwnas.errors import HwnasError

__all__ = ["LoggedWork", "relay"]

_OURS = "hwnas"  # other libraries' warnings would reach the terminal, which they are kept off where they are printed

Outcome = tuple[list[logging.LogRecord], HwnasError | None]
"""What was logged, and what was raised: an error that is known, else it is raised as it is."""


class LoggedWork:
    """`work(number)` for another process. Picklable as `work` is; logs as much as this process does now."""

    def __init__(self, work: Callable[[int], None]) -> None:
        self.work, self.level = work, logging.getLogger(_OURS).getEffectiveLevel()

    def __call__(self, number: int) -> Outcome:
        entries: SimpleQueue[logging.LogRecord] = SimpleQueue()
        ours, handler, raised = logging.getLogger(_OURS), QueueHandler(entries), None
        ours.addHandler(handler)
        ours.setLevel(self.level)
        try:
            self.work(number)
        except HwnasError as error:
            raised = error
        finally:
            ours.removeHandler(handler)
        return [entries.get() for _ in range(entries.qsize())], raised


def relay(outcome: Outcome) -> None:
    """Log here what was logged there, and raise what was raised there."""
    entries, raised = outcome
    for entry in entries:
        logging.getLogger(entry.name).handle(entry)
    if raised is not None:
        raise raised
