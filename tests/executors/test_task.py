"""Work in other processes: what it logs and raises comes back."""

from __future__ import annotations

import logging
import pickle

import pytest

from hwnas.devices.process import ProcessError, Step
from hwnas.errors import ExportError, HwnasError, MissingExtraError
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import nothing
from hwnas.executors.local import LocalExecutor
from hwnas.executors.task import Task


def work(number: int) -> None:
    logging.getLogger("hwnas.export.quiet").debug("%d printed", number)
    logging.getLogger("other").warning("not ours")
    if number == 1:
        raise ExportError("refused")


def test_entries_and_errors_come_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hwnas")
    with LocalExecutor(ExecutorConfig(workers=1)) as executor:
        results = executor.each("export", work, range(2))
        assert next(results) == (0, None)
        with pytest.raises(ExportError, match=r"^refused$"):
            next(results)
    assert [entry.getMessage() for entry in caplog.records] == ["0 printed", "1 printed"]


def test_nothing_is_kept_that_would_not_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hwnas")
    assert Task(work, nothing)(0) == ([], None, None)


@pytest.mark.parametrize(
    "error",
    [
        ExportError("refused"),
        MissingExtraError("ray", "ray", "executor=ray"),
        ProcessError("it died", 139, Step("import tvm", "import tvm", "apache-tvm")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_can_be_sent(error: HwnasError) -> None:
    sent = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert (type(sent), str(sent), vars(sent)) == (type(error), str(error), vars(error))
