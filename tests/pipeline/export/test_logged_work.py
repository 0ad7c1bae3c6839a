"""Work in other processes: what it logs and raises comes back."""

from __future__ import annotations

import logging

import pytest

from hwnas.errors import ExportError
from hwnas.pipeline.export.logged_work import LoggedWork, relay
from hwnas.workers import WorkerPool


def work(number: int) -> None:
    logging.getLogger("hwnas.export.quiet").debug("%d printed", number)
    logging.getLogger("other").warning("not ours")
    if number == 1:
        raise ExportError("refused")


def test_entries_and_errors_come_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hwnas")
    pool = WorkerPool(LoggedWork(work), 1, "spawn", dict)
    try:
        relay(pool.submit(0).result())
        with pytest.raises(ExportError, match="refused"):
            relay(pool.submit(1).result())
    finally:
        pool.kill()
    assert [entry.getMessage() for entry in caplog.records] == ["0 printed", "1 printed"]


def test_nothing_is_kept_that_would_not_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hwnas")
    entries, raised = LoggedWork(work)(0)
    assert (entries, raised) == ([], None)
