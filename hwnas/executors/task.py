"""Work in other processes whose log entries come back with it, so that one log holds all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from logging.handlers import QueueHandler
from queue import SimpleQueue
from typing import Generic, NamedTuple, TypeVar

from hwnas.errors import HwnasError

__all__ = ["Outcome", "Task", "relay"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_OURS = "hwnas"  # other libraries' warnings would reach the terminal, which they are kept off where they are printed


class Outcome(NamedTuple, Generic[Result]):
    """What was logged, and what was made; or the error that was raised, where it is known, else it is raised there."""

    entries: list[logging.LogRecord]
    result: Result | None
    raised: HwnasError | None


class Task(Generic[Item, Result]):
    """`make(item)` for other processes, in each of which `begin()` is called first, once. Picklable as both are.

    It logs as much as this process does now.
    """

    def __init__(self, make: Callable[[Item], Result], begin: Callable[[], object]) -> None:
        self.make, self.begin, self.begun = make, begin, False
        self.level = logging.getLogger(_OURS).getEffectiveLevel()

    def __call__(self, item: Item) -> Outcome[Result]:
        entries: SimpleQueue[logging.LogRecord] = SimpleQueue()
        ours, handler = logging.getLogger(_OURS), QueueHandler(entries)
        result: Result | None = None
        raised: HwnasError | None = None
        ours.addHandler(handler)
        ours.setLevel(self.level)
        try:
            if not self.begun:
                self.begin()
                self.begun = True
            result = self.make(item)
        except HwnasError as error:
            raised = error
        finally:
            ours.removeHandler(handler)
        return Outcome([entries.get() for _ in range(entries.qsize())], result, raised)


def relay(outcome: Outcome[Result]) -> Result:
    """What was made there. What was logged there is logged here, and what was raised there is raised here."""
    for entry in outcome.entries:
        logging.getLogger(entry.name).handle(entry)
    if outcome.raised is not None:
        raise outcome.raised
    return outcome.result  # type: ignore[return-value]  # None only where `make` gave it
