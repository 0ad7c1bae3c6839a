"""What is said of the time that a run takes, with a clock that stands still unless it is set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hwnas.pipeline.plan.itinerary import Itinerary
from hwnas.progress import Progress


class Heard:
    """A reporter that keeps what it is told, and the clock."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = 0.0

    def say(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.lines.append(f"note {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        self.lines.append(title)
        yield lambda share, status: self.lines.append(f"{share:.0%} {status}")

    def clock(self) -> float:
        return self.now

    @property
    def last(self) -> str:
        return self.lines[-1]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def itinerary(heard: Heard, **planned: float) -> Itinerary:
    return Itinerary(heard, planned, heard.clock)


def test_all_steps_are_announced(heard: Heard) -> None:
    itinerary(heard, train=600.0, evaluate=0.0, profile=40.0).announce()
    assert heard.lines == [
        "plan: 3 steps, about 11 min on this machine",
        "  1 train     10 min",
        "  2 evaluate  done",
        "  3 profile   40 s",
    ]


def test_a_step_says_its_place_and_the_time_left(heard: Heard) -> None:
    plan = itinerary(heard, train=100.0, profile=40.0)
    with plan.at("train"), plan.step("train: a supernet") as progress:
        assert heard.last == "[1/2] train: a supernet (2 min left in all)"
        heard.now = 20.0
        progress(0.2, "loss 1")  # at this pace 80 s more, as forecast
        assert heard.last == "20% loss 1  (2 min left in all)"
        heard.now = 90.0
        progress(0.5, "loss 1")  # slower: another 90 s, and the profile's 40
        assert heard.last == "50% loss 1  (2 min left in all)"
        progress(0.9, "loss 1")  # 10 s more
        assert heard.last == "90% loss 1  (50 s left in all)"


def test_a_slow_beginning_says_nothing_of_the_whole(heard: Heard) -> None:
    plan = itinerary(heard, train=100.0)
    with plan.at("train"), plan.step("train: a supernet") as progress:
        heard.now = 5.0
        progress(0.001, "loss 4")
        assert heard.last == "0% loss 4  (2 min left in all)"
        progress(0.02, "loss 4")
        assert heard.last == "2% loss 4  (4 min left in all)"


def test_the_pace_of_what_is_done_is_that_of_what_is_ahead(heard: Heard) -> None:
    plan = itinerary(heard, train=100.0, profile=40.0)
    with plan.at("train"):
        heard.now = 200.0
    assert plan.left_s == 80.0
    with plan.at("profile"), plan.step("profile: this machine"):
        assert heard.last == "[2/2] profile: this machine (80 s left in all)"
        heard.now = 300.0  # longer than forecast
        assert plan.left_s == 0.0
    assert plan.left_s == 0.0


def test_what_took_moments_tells_no_pace(heard: Heard) -> None:
    plan = itinerary(heard, search=1.0, export=40.0)
    with plan.at("search"):
        heard.now = 5.0
    assert plan.left_s == 40.0


def test_beside_the_steps_nothing_is_added(heard: Heard) -> None:
    plan = itinerary(heard, train=100.0)
    with plan.step("report: plots") as progress:
        progress(0.5, "half")
    plan.say("a line")
    plan.note("another")
    assert heard.lines == ["report: plots", "50% half", "a line", "note another"]


def test_a_step_that_fails_is_not_done(heard: Heard) -> None:
    plan = itinerary(heard, train=100.0)
    with pytest.raises(KeyError), plan.at("train"):
        raise KeyError
    assert plan.left_s == 100.0
