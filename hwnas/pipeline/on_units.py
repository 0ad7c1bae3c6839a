"""Asking devices: at the same time where there are several, of a model the first of its units that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from hwnas.devices.fleet import Unit
from hwnas.errors import ConfigError, DeviceError, ExecutorError, HwnasError, MissingExtraError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.progress import Progress, no_progress

__all__ = ["Answer", "Order", "ask_units", "told_of"]

T = TypeVar("T")

_OF_A_UNIT = (DeviceError, ExecutorError, ConfigError, MissingExtraError)


@dataclass(frozen=True)
class Order(Generic[T]):
    """What is asked of one of `units`, the first before the second. `work` is picklable, and given the unit."""

    units: Sequence[Unit]
    work: Callable[[Unit, Progress], T]


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a unit found, or what it failed with: then it is the last of its order's."""

    unit: Unit
    found: T | None
    problem: HwnasError | None

    def settled(self) -> T:
        """What was found. Raises the problem."""
        if self.problem is not None:
            raise self.problem
        found: Any = self.found
        return found  # type: ignore[no-any-return]


def ask_units(
    title: str,
    orders: Sequence[Order[T]],
    config: ExecutorConfig,
    say: Callable[[str], None],
    progress: Progress,
    most: int | None = None,
) -> list[Answer[T]]:
    """The answer to each of `orders`: one alone is worked on here, several at once (`most` of them) by workers of the
    executor, and so is what hangs on a host.

    When a unit fails, the next of its order is asked, which `say` is told. Raises ExecutorError for a host that there
    isn't.
    """
    found: dict[int, Answer[T]] = {}
    pending = {number: list(order.units) for number, order in enumerate(orders)}
    while pending:
        asked = {number: units[0] for number, units in pending.items()}
        for number, answer in _answers(title, orders, asked, config, progress, most):
            unit, *others = pending[number]
            if answer.problem is None or not others:
                found[number] = answer
                del pending[number]
                if len(orders) > 1:
                    progress(len(found) / len(orders), f"{len(found)} of {len(orders)} devices")
            else:
                say(f"{told_of(unit, answer.problem)}; {others[0].name} is asked instead")
                pending[number] = others
    return [found[number] for number in range(len(orders))]


def told_of(unit: Unit, problem: HwnasError) -> str:
    """What a unit failed with, which it is named in."""
    text = str(problem)
    if unit.profile.name in text and (unit.address or "") in text:
        return text
    return f"{unit.name if unit.address or unit.host else unit.profile.name}: {text}"


def _answers(
    title: str,
    orders: Sequence[Order[T]],
    asked: Mapping[int, Unit],
    config: ExecutorConfig,
    progress: Progress,
    most: int | None,
) -> Iterator[tuple[int, Answer[T]]]:
    if len(orders) == 1 and asked[0].host is None:
        yield 0, _answer((orders[0].work, asked[0]), progress)
        return
    numbers = list(asked)
    items = [(orders[number].work, asked[number]) for number in numbers]
    workers = replace(config, workers=min(len(items), most or len(items))) if config.kind == "local" else config
    with open_executor(workers) as executor:
        executor.check_hosts({unit.host for unit in asked.values() if unit.host is not None})
        answers = executor.each(
            title, _answer, items, host_of=lambda item: item[1].host,
            lost=lambda item, error: Answer(item[1], None, error),
        )  # fmt: skip
        for place, answer in answers:
            yield numbers[place], answer


def _answer(item: tuple[Callable[[Unit, Progress], T], Unit], progress: Progress = no_progress) -> Answer[T]:
    work, unit = item
    try:
        return Answer(unit, work(unit, progress), None)
    except _OF_A_UNIT as error:
        return Answer(unit, None, error)
