"""Pools of processes that end with the process that started them, and leave Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

__all__ = ["WorkerPool"]

Item = TypeVar("Item")
T = TypeVar("T")

_PARENT_CHECK_S = 1.0


class WorkerPool(Generic[Item, T]):
    """`workers` processes that call `make(item)`, each with a copy of `make` of its own.

    `method` is how they are started: `fork`, which copies this process as it is, or `spawn`, for work that starts
    threads, which don't survive a fork; then `make` must be picklable. `begin` is called in each of them first.
    """

    def __init__(self, make: Callable[[Item], T], workers: int, method: str, begin: Callable[[], object]) -> None:
        context = multiprocessing.get_context(method)
        self._executor = ProcessPoolExecutor(workers, context, _begin, (os.getpid(), make, begin))

    def submit(self, item: Item) -> Future[T]:
        """`make(item)`, in time. Its result raises what that raises, and BrokenProcessPool where a worker died."""
        with _interrupts_held():  # workers are started in here
            return self._executor.submit(_call, item)

    def close(self, wait: bool = False) -> None:
        """No more work; workers end with what they are at, and that may be waited for."""
        self._executor.shutdown(wait=wait, cancel_futures=True)

    def kill(self) -> None:
        """End the workers now, whatever they are at; nothing where they have ended."""
        processes = list((self._executor._processes or {}).values())
        self.close()
        for process in processes:
            process.kill()


_made_here: list[Callable[[Any], Any]] = []  # of a worker process: what it was started for


def _begin(parent: int, make: Callable[[Any], Any], begin: Callable[[], object]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked one has the parent's handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    begin()
    _made_here.append(make)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # A worker that Ctrl-C met before it ignores it would print a traceback of its own.
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(item: Any) -> Any:
    return _made_here[0](item)


def _end_with(parent: int) -> None:
    # A parent that was killed can't end its workers, and they would wait for work for ever.
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
