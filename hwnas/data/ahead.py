"""Work on the next batches in worker processes, while the present one is used."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import Generic, TypeVar

import torch

from hwnas.errors import DataError
from hwnas.executors.pool import WorkerPool

__all__ = ["MadeAhead"]

T = TypeVar("T")

_PER_WORKER = 2  # numbers under way or waiting to be fetched: a worker never idles, and few results wait in memory


class MadeAhead(Generic[T]):
    """`make(n)` for n, n + 1, … in this order, made by `workers` processes before it is asked for.

    `make` must depend on `n` alone: then the results don't depend on the number of workers. It is called in copies of
    this process, so what it changes is seen by that worker only, and what it returns is copied back: numpy arrays
    rather than tensors, which would travel through shared memory, small in many containers. With 0 workers it is
    called right here. Numbers run up to and without `end`; another number than the next starts anew from there.
    """

    def __init__(self, make: Callable[[int], T], workers: int, end: int | None = None) -> None:
        self._make, self._workers, self._end = make, workers, end
        self._pool: WorkerPool[int, T] | None = None
        self._waiting: deque[Future[T]] = deque()
        self._first = 0  # the number of the first one waiting

    def __call__(self, number: int) -> T:
        """`make(number)`. Raises what it raises, and DataError where a worker died."""
        if not self._workers:
            return self._make(number)
        if not self._waiting or number != self._first:
            for future in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._first = number
        try:
            self._fill()
            result = self._waiting.popleft().result()
            self._first += 1
            self._fill()
        except BrokenProcessPool as error:
            self.close()
            raise DataError(
                "a worker process that decodes images died, most likely killed for want of memory: lower data.workers"
                f" (now {self._workers}) or training.batch_size, or free memory, and run again"
            ) from error
        except BaseException:
            self.close()
            raise
        return result

    def close(self) -> None:
        """End the workers; the next call starts new ones."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None
        self._waiting.clear()

    def __del__(self) -> None:
        self.close()

    def _fill(self) -> None:
        if self._pool is None:
            self._pool = WorkerPool(self._make, self._workers, _method(), _one_thread)
        while len(self._waiting) < _PER_WORKER * self._workers:
            number = self._first + len(self._waiting)
            if self._end is not None and number >= self._end:
                break
            self._waiting.append(self._pool.submit(number))


def _one_thread() -> None:
    torch.set_num_threads(1)  # the team of threads of the parent doesn't exist in a forked process


def _method() -> str:
    # Forked workers start at once and share the list of images; macOS's libraries don't survive a fork.
    return "fork" if sys.platform == "linux" else "spawn"
