"""Signals: what is within is finished first, and the line and status say which it was."""

from __future__ import annotations

import os
import signal

import pytest

from hwnas.interrupts import Interrupted, finished_first, interrupts_raised


def interrupt_within(numbers: list[int], finished: list[bool]) -> None:
    with interrupts_raised(), finished_first():
        for number in numbers:
            os.kill(os.getpid(), number)
        finished.append(True)


@pytest.mark.parametrize(("number", "status", "how"), [(2, 130, "interrupted"), (15, 143, "terminated")])
def test_a_signal_waits_for_what_is_within(number: int, status: int, how: str) -> None:
    before = signal.getsignal(number)
    finished: list[bool] = []
    with pytest.raises(Interrupted) as caught:
        interrupt_within([number], finished)
    assert finished
    assert caught.value.status == status
    assert caught.value.line == f"{how}: what was finished is kept; the same command goes on from there"
    assert signal.getsignal(number) is before


def test_a_second_signal_is_not_waited_with() -> None:
    finished: list[bool] = []
    with pytest.raises(Interrupted):
        interrupt_within([signal.SIGTERM, signal.SIGTERM], finished)
    assert not finished


def test_what_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupts_raised():
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
