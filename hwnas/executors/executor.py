"""What an executor is: work that splits goes in, results come out as they are completed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Any, TypeVar

from hwnas.errors import ExecutorError
from hwnas.executors.task import Outcome, Task, relay

__all__ = ["Crew", "Executor", "anywhere", "nothing"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def nothing() -> None:
    """For workers that need no preparation."""


def anywhere(item: object) -> str | None:  # noqa: ARG001
    """For items that any worker can work on."""
    return None


class Crew(ABC):
    """Workers of one task, and what they are given. A handle stands for an item that was given."""

    @abstractmethod
    def submit(self, item: Any, host: str | None) -> Any:
        """The handle of `item`, which is worked on as soon as a worker is free; on `host`, where it is not None."""

    @abstractmethod
    def finished(self, handles: Collection[Any]) -> Iterable[Any]:
        """Those of `handles` that are finished; waits until one is."""

    @abstractmethod
    def outcome(self, handle: Any) -> Outcome[Any]:
        """Of a finished item. Raises what was raised in the worker and is no HwnasError, and ExecutorError where the
        worker died.
        """

    @abstractmethod
    def end(self, handles: Collection[Any]) -> None:
        """Drop the unfinished `handles`, and let the workers go. May be called again."""


class Executor(ABC):
    """Does work that splits, `workers` items at once, each of which may use `threads` threads.

    A context: workers that are left end with it.
    """

    workers: int
    threads: int

    def __init__(self, workers: int, threads: int, in_flight: int) -> None:
        self.workers, self.threads, self._in_flight = workers, threads, in_flight
        self._opened = ExitStack()

    def each(
        self,
        title: str,
        make: Callable[[Item], Result],
        items: Iterable[Item],
        begin: Callable[[], object] = nothing,
        host_of: Callable[[Item], str | None] = anywhere,
        lost: Callable[[Item, ExecutorError], Result] | None = None,
    ) -> Generator[tuple[int, Result], None, None]:
        """The number of each of `items`, counted from 0, and `make(item)`, in the order in which they are completed.

        `make` and `begin` are called in worker processes, in copies: they are picklable, and what they change is seen
        in that worker only, until its next item. `begin` is called once in each worker, before its first item. What
        hwnas logs there is logged here. Of `items` no more are taken than are worked on, and a few to go on with: a
        generator of any length is as good as a list. An item for which `host_of` gives a host (see `check_hosts`) is
        worked on there.

        Raises what `make` or `begin` raises for the first item that fails, and ExecutorError, whose message begins with
        `title`, where a worker died; the rest is dropped then, as it is when the caller takes no more. With `lost` an
        item whose worker died, or whose host is gone, has the result that `lost` gives for it, and the rest goes on.
        """
        running: dict[Any, tuple[int, Item]] = {}
        crew = self._crew(title, Task(make, begin))
        # By the end of the context too: an exception keeps this generator alive until it has been reported.
        self._opened.callback(end := partial(crew.end, running))
        try:
            numbered = enumerate(items)
            while True:
                # What waits for its own host keeps no other from being given.
                free = self._in_flight - len(running) if host_of is anywhere else None
                for number, item in islice(numbered, free):
                    running[crew.submit(item, host_of(item))] = (number, item)
                if not running:
                    return
                for handle in crew.finished(running):
                    number, item = running[handle]
                    try:
                        outcome = crew.outcome(handle)
                    except ExecutorError as error:
                        if lost is None:
                            raise
                        outcome = Outcome([], lost(item, error), None)
                    del running[handle]
                    yield number, relay(outcome)
        finally:
            end()

    def check_hosts(self, hosts: Collection[str]) -> None:
        """Raises ExecutorError, with those that there are, for a host that no worker is on."""
        if hosts:
            raise ExecutorError(
                f"workers on {', '.join(sorted(hosts))}: only a cluster has hosts: give executor=ray and"
                " executor.address, or leave the hosts out"
            )

    def close(self) -> None:
        """End what is under way."""
        self._opened.close()

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _crew(self, title: str, task: Task[Any, Any]) -> Crew:
        """Workers for the task."""
