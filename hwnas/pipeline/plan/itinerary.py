"""The steps of a run with the time that each takes, said before it and while it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from hwnas.progress import Progress, Reporter, time_in_words

__all__ = ["Itinerary"]

_TELLING_S = 10.0  # done steps that took less say nothing about the machine's pace

_TELLING_SHARE = 0.02  # of a step: what less of it took says more of how it begins than of how long it is


class Itinerary(Reporter):
    """A reporter that says of each step which of how many it is, and how long the whole will still take.

    What is ahead is forecast by `planned`, seconds by step in their order, 0 for what is done; and faster or slower
    where the steps so far were. What the step itself says of its progress counts where it is longer. `taken_s`: the
    seconds of the steps that were made.
    """

    def __init__(
        self, reporter: Reporter, planned: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter, self._planned, self._clock = reporter, dict(planned), clock
        self._names = list(planned)
        self._current, self._began = "", 0.0
        self._forecast_s = self.taken_s = 0.0

    def announce(self) -> None:
        """Says all steps, with their times."""
        self._reporter.say(f"plan: {len(self._names)} steps, about {time_in_words(self.left_s)} on this machine")
        width = max(map(len, self._names))
        for number, name in enumerate(self._names, 1):
            planned_s = self._planned[name]
            self._reporter.say(f"  {number} {name:{width}}  {time_in_words(planned_s) if planned_s else 'done'}")

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """While the step `name` is made."""
        self._current, self._began = name, self._clock()
        yield
        if self._planned[name]:
            self._forecast_s += self._planned[name]
            self.taken_s += self._clock() - self._began
        self._planned[name], self._current = 0.0, ""

    def planned_s(self, name: str) -> float:
        """What is forecast for the step `name`, 0 where it is done; at the pace of the steps so far."""
        return self._pace * self._planned[name]

    def replan(self, name: str, seconds: float) -> None:
        """The step `name` will take so long, at the pace of the steps so far."""
        self._planned[name] = seconds / self._pace

    @property
    def left_s(self) -> float:
        """Seconds of all that is ahead, what is under way included."""
        ahead = sum(seconds for name, seconds in self._planned.items() if name != self._current)
        return self._pace * ahead + self._current_s()

    @property
    def _pace(self) -> float:
        return self.taken_s / self._forecast_s if self.taken_s > _TELLING_S and self._forecast_s else 1.0

    def _current_s(self) -> float:
        if not self._current:
            return 0.0
        return max(0.0, self._pace * self._planned[self._current] - (self._clock() - self._began))

    def say(self, text: str) -> None:
        """As the reporter does."""
        self._reporter.say(text)

    def note(self, text: str) -> None:
        """As the reporter does."""
        self._reporter.note(text)

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """As the reporter does; titles and statuses tell the place in the whole, and the time left in all."""
        left = ""
        if self._current:
            title = f"[{self._names.index(self._current) + 1}/{len(self._names)}] {title}"
            left = f" ({time_in_words(self.left_s)} left in all)" if self.left_s >= 1 else ""
        began = self._clock()
        with self._reporter.step(title + left) as progress:

            def tell(share: float, status: str) -> None:
                ahead = self.left_s - self._current_s()
                taken = self._clock() - began
                own = taken * (1 - share) / share if _TELLING_SHARE <= share < 1 else 0.0
                left_s = ahead + max(own, self._current_s())
                progress(share, f"{status}  ({time_in_words(left_s)} left in all)")

            yield tell if self._current else progress
