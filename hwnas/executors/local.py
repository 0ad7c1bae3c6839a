"""Processes of this machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from hwnas.errors import ExecutorError
from hwnas.executors.config import ExecutorConfig, cores
from hwnas.executors.executor import Crew, Executor, nothing
from hwnas.executors.pool import WorkerPool
from hwnas.executors.task import Outcome, Task

__all__ = ["LocalExecutor"]

_PER_WORKER = 2  # a worker that is done finds its next item waiting


class LocalExecutor(Executor):
    """New interpreters, as many as `config` says, which end with this process."""

    def __init__(self, config: ExecutorConfig) -> None:
        workers = config.workers or cores()
        super().__init__(workers, max(1, cores() // workers), _PER_WORKER * workers)

    def _crew(self, title: str, task: Task[Any, Any]) -> Crew:
        return _Processes(title, task, self.workers)


class _Processes(Crew):
    def __init__(self, title: str, task: Task[Any, Any], workers: int) -> None:
        self._title, self._workers = title, workers
        # Forked ones would be without the threads that libraries have started here.
        self._pool: WorkerPool[Any, Outcome[Any]] = WorkerPool(task, workers, "spawn", nothing)

    def submit(self, item: Any, host: str | None) -> Future[Outcome[Any]]:  # noqa: ARG002
        try:
            return self._pool.submit(item)
        except BrokenProcessPool as error:
            raise self._died() from error

    def finished(self, handles: Collection[Future[Outcome[Any]]]) -> Iterable[Future[Outcome[Any]]]:
        done = wait(handles, return_when=FIRST_COMPLETED).done
        return [handle for handle in handles if handle in done]  # of several that are, the first that was given first

    def outcome(self, handle: Future[Outcome[Any]]) -> Outcome[Any]:
        try:
            return handle.result()
        except BrokenProcessPool as error:
            raise self._died() from error

    def end(self, handles: Collection[Future[Outcome[Any]]]) -> None:
        if not handles:
            self._pool.close(wait=True)
        self._pool.kill()

    def _died(self) -> ExecutorError:
        return ExecutorError(
            f"{self._title}: a worker process died, killed for want of memory or crashed in a library: give"
            f" executor.workers=1 (now {self._workers}), or free memory, and run again; what is finished is kept"
        )
