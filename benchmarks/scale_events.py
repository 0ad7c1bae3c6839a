"""A discrete simulation: tasks that take a place of something for some seconds, by a heap of what ends next."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Task", "simulate"]


class Task(NamedTuple):
    """`seconds` on one place of `of`, once the tasks numbered `after` have ended."""

    of: str
    seconds: float
    after: tuple[int, ...] = ()


def simulate(tasks: Sequence[Task], places: Mapping[str, int]) -> list[float]:
    """When each of `tasks` ends. Of what is not in `places` there is one.

    Who waits for a place gets it in the order of becoming ready, then of number. Raises ValueError for tasks that wait
    for each other.
    """
    followers: list[list[int]] = [[] for _ in tasks]
    open_before = [len(task.after) for task in tasks]
    for number, task in enumerate(tasks):
        for before in task.after:
            followers[before].append(number)
    free = {task.of: places.get(task.of, 1) for task in tasks}
    waiting: dict[str, deque[int]] = {name: deque() for name in free}
    ends = [0.0] * len(tasks)
    running: list[tuple[float, int]] = []

    def start(number: int, now: float) -> None:
        task = tasks[number]
        if free[task.of]:
            free[task.of] -= 1
            heapq.heappush(running, (now + task.seconds, number))
        else:
            waiting[task.of].append(number)

    for number, count in enumerate(open_before):
        if not count:
            start(number, 0.0)
    done = 0
    while running:
        now, number = heapq.heappop(running)
        ends[number], done = now, done + 1
        of = tasks[number].of
        free[of] += 1
        if waiting[of]:
            start(waiting[of].popleft(), now)
        for follower in followers[number]:
            open_before[follower] -= 1
            if not open_before[follower]:
                start(follower, now)
    if done < len(tasks):
        raise ValueError(f"{len(tasks) - done} of {len(tasks)} tasks wait for each other")
    return ends
