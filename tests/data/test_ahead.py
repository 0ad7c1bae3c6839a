"""Batches made ahead by worker processes: in order, the same for any number, and never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from hwnas.data.ahead import MadeAhead
from hwnas.errors import DataError


def square(number: int) -> np.ndarray:
    return np.array([number, number**2])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_in_order_from_anywhere(workers: int) -> None:
    ahead = MadeAhead(square, workers, end=20)
    for numbers in (range(3, 12), range(2), range(17, 20), [5, 5, 7]):
        assert [ahead(number).tolist() for number in numbers] == [[number, number**2] for number in numbers]
    ahead.close()
    assert ahead(4).tolist() == [4, 16]
    ahead.close()


def test_made_before_it_is_asked_for(tmp_path: Path) -> None:
    def touch(number: int) -> int:
        (tmp_path / str(number)).touch()
        return number

    ahead = MadeAhead(touch, 2)
    ahead(0)
    deadline = time.monotonic() + 30
    while not (tmp_path / "3").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "3").exists()
    time.sleep(0.1)
    assert not (tmp_path / "9").exists()  # and no further than needed
    ahead.close()


def fail_at_4(number: int) -> int:
    if number == 4:
        raise DataError("image x cannot be decoded")
    return number


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_with_its_number(workers: int) -> None:
    ahead = MadeAhead(fail_at_4, workers)
    assert [ahead(number) for number in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"^image x cannot be decoded$"):
        ahead(4)
    assert ahead(5) == 5
    ahead.close()


def die_at_3(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does for want of memory
    return number


def test_a_worker_that_dies_is_an_error_and_no_hang() -> None:
    ahead = MadeAhead(die_at_3, 2)
    with pytest.raises(DataError, match=r"worker process that decodes images died.*lower data\.workers \(now 2\)"):
        list(map(ahead, range(4)))


def test_a_worker_killed_between_two_calls_is_the_same_error() -> None:
    others = set(psutil.Process().children())
    ahead = MadeAhead(square, 2)
    ahead(0)
    for worker in set(psutil.Process().children()) - others:
        with suppress(psutil.NoSuchProcess):  # the pool ends the others as soon as it sees that one is dead
            worker.kill()
    with pytest.raises(DataError, match="worker process that decodes images died"):
        list(map(ahead, range(1, 50)))
    assert ahead(3).tolist() == [3, 9]  # with new workers
    ahead.close()


ENDLESS = """
from hwnas.data.ahead import MadeAhead
import time

def make(number):
    return number

ahead = MadeAhead(make, 2)
ahead(0)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_a_parent_that_is_killed(how: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        workers = psutil.Process(process.pid).children()
        assert len(workers) == 2
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as Ctrl-C in a terminal
        else:
            process.send_signal(how)
        _, alive = psutil.wait_procs(workers, timeout=30)
        process.wait(timeout=30)
        assert process.stderr is not None
        said = process.stderr.read()
    assert not alive
    assert said.count("KeyboardInterrupt") == (1 if how == signal.SIGINT else 0)  # the parent's alone
