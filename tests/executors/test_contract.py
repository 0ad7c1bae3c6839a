"""What every executor does alike: in processes of this machine, and on a Ray that is really started."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from hwnas.errors import DataError, ExecutorError, MissingExtraError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Executor
from tests.executors import work

WORKERS = 2


@pytest.fixture(scope="module", params=["local", pytest.param("ray", marks=pytest.mark.slow)])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    os.environ["HWNAS_OF_A_TEST"] = "seen"
    with open_executor(ExecutorConfig(kind=request.param, workers=WORKERS)) as opened:
        yield opened
    del os.environ["HWNAS_OF_A_TEST"]


def test_each_item_has_its_result_whatever_the_order(executor: Executor, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hwnas")
    found = list(executor.each("squares", work.squared, range(20)))
    assert dict(found) == {number: number**2 for number in range(20)}
    assert len(found) == 20
    logged = [entry.getMessage() for entry in caplog.records if entry.name == "hwnas.executors"]
    assert sorted(logged) == sorted(f"squared {number}" for number in range(20))
    assert list(executor.each("squares", work.squared, [])) == []


def test_workers_are_several_and_prepared_once(executor: Executor) -> None:
    found = [result for _, result in executor.each("where", work.where, range(40), work.begin)]
    assert len({process for process, _ in found}) == WORKERS
    assert os.getpid() not in dict(found)
    assert {begun for _, begun in found} == {1}
    assert {result for _, result in executor.each("threads", work.threads, range(4), work.begin)} == {1}


def test_a_straggler_gets_little_to_do(executor: Executor, tmp_path: Path) -> None:
    found = [result for _, result in executor.each("straggle", work.Straggler(tmp_path), range(40))]
    slow = int((tmp_path / "slow").readlink().name)
    assert len(found) == 40
    assert found.count(slow) <= 10


def test_a_worker_keeps_its_copy(executor: Executor) -> None:
    counted = work.Counted()
    found = [result for _, result in executor.each("count", counted, range(30))]
    assert counted.calls == 0
    assert max(found) >= 30 / WORKERS
    assert found.count(1) <= WORKERS


def test_paths_and_variables_are_those_of_this_process(executor: Executor) -> None:
    ((_, found),) = executor.each("here", work.from_here, ["HWNAS_OF_A_TEST"])
    assert found == (str(Path.cwd()), "seen")


def test_the_first_error_ends_it(executor: Executor) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10_000):
            taken.append(number)
            yield number

    with pytest.raises(DataError, match=r"^image 3 is broken$"):
        list(executor.each("fails", work.fails_at_three, items()))
    assert len(taken) < 100
    with pytest.raises(ZeroDivisionError, match="of 0"):
        list(executor.each("fails", work.unknown, [0]))
    with pytest.raises(MissingExtraError, match=r"hwnas\[ray\]"):
        list(executor.each("fails", work.squared, range(3), work.begins_badly))
    assert dict(executor.each("squares", work.squared, [5])) == {0: 25}  # others may follow


def test_few_items_are_taken_ahead(executor: Executor) -> None:
    """As many for 500 as for any number: the memory of the caller is flat."""
    taken = most = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(500):
            taken += 1
            yield number

    done = 0
    for _ in executor.each("squares", work.fails_at_three, (number + 4 for number in items())):
        most = max(most, taken - done)
        done += 1
    assert (done, taken) == (500, 500)
    assert most <= 3 * WORKERS


def test_ctrl_c_ends_what_is_under_way(executor: Executor, tmp_path: Path) -> None:
    def interrupt() -> None:
        while not list(tmp_path.iterdir()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    with closing(executor.each("slow", work.slow, [str(tmp_path)] * 9)) as results:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            next(results)
    processes = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 20
    while any(_alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [process for process in processes if _alive(process)]


def _alive(process: int) -> bool:
    return psutil.pid_exists(process) and bool(psutil.Process(process).status() != psutil.STATUS_ZOMBIE)


def test_a_worker_that_always_dies_is_one_line(executor: Executor) -> None:
    with pytest.raises(ExecutorError) as raised:
        list(executor.each("evaluate", work.crashes, [0]))
    message = str(raised.value)
    assert message.startswith("evaluate: ")
    assert "died" in message
    assert "want of memory" in message
    assert "\n" not in message


def test_a_worker_that_dies_once(executor: Executor, tmp_path: Path) -> None:
    """Ray does its work again; processes of this machine don't."""
    results = executor.each("evaluate", work.dies_once, [str(tmp_path)])
    if type(executor).__name__ == "LocalExecutor":
        with pytest.raises(ExecutorError, match=r"executor\.workers=1 \(now 2\)"):
            list(results)
    else:
        assert len(list(results)) == 1
    assert (tmp_path / "died").exists()
