"""Networks: operators in an order, each with those whose results it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

from hwnas.errors import ConfigError
from hwnas.operators.operator import Operator

__all__ = ["IMAGE", "JOINS", "Network", "Step"]

IMAGE = -1
"""What the first step reads."""

JOINS = ("add", "concat")
"""How a step joins what it reads: the sum, or all channels one after the other."""


@dataclass(frozen=True)
class Step:
    """One place of a network: its slot's name, what stands there, and the numbers of the steps that it reads.

    Of several, `join` makes one. Without an operator, that is its result.
    """

    name: str
    operator: Operator | None
    reads: tuple[int, ...]
    join: str = "add"


@dataclass(frozen=True)
class Network(Sequence[Operator]):
    """`steps` in the order in which they run, the last of which gives the output. A sequence of operators."""

    steps: tuple[Step, ...]

    @classmethod
    def chain(cls, operators: Sequence[Operator]) -> Network:
        """`operators` one after the other; a network stays as it is."""
        if isinstance(operators, Network):
            return operators
        return cls(tuple(Step(f"operator{n}", one, (n - 1,)) for n, one in enumerate(operators)))

    @classmethod
    def used(cls, steps: Sequence[Step]) -> Network:
        """Those of `steps` that the last one depends on."""
        needed = {len(steps) - 1}
        for number in reversed(range(len(steps))):
            if number in needed:
                needed.update(steps[number].reads)
        kept = sorted(needed - {IMAGE})
        place = {IMAGE: IMAGE, **{number: new for new, number in enumerate(kept)}}
        return cls(tuple(replace(steps[n], reads=tuple(place[one] for one in steps[n].reads)) for n in kept))

    @cached_property
    def is_chain(self) -> bool:
        """Whether each step holds an operator, and reads the one before alone."""
        return all(step.operator is not None and step.reads == (n - 1,) for n, step in enumerate(self.steps))

    @cached_property
    def last_reads(self) -> tuple[tuple[int, ...], ...]:
        """What each step is the last to read."""
        last = {read: number for number, step in enumerate(self.steps) for read in step.reads}
        return tuple(tuple(one for one, end in last.items() if end == number) for number in range(len(self.steps)))

    @property
    def peak_activations(self) -> int:
        """The most numbers held at once, for batch 1: what a running operator holds, and values that are read later."""
        held: dict[int, int] = {}
        most = 0
        for number, (step, done) in enumerate(zip(self.steps, self.last_reads, strict=True)):
            later = sum(size for one, size in held.items() if one not in done)
            read = [held[one] for one in step.reads if one != IMAGE]
            joined = (sum(read) if step.join == "concat" else read[0]) if read else 0
            if len(read) > 1:
                most = max(most, later + sum(read) + (joined if step.join == "concat" else 0))
            if step.operator is None:
                held[number] = joined
            else:
                most = max(most, later + step.operator.peak_activations)
                held[number] = step.operator.out_height * step.operator.out_width * step.operator.out_channels
            for one in done:
                held.pop(one, None)
        return most

    def check(self) -> None:
        """Raise ConfigError, naming the step, where what is read does not fit together, or not its operator."""
        given: list[tuple[int, int, int]] = []
        for step in self.steps:
            read = [given[one] for one in step.reads if one != IMAGE]
            if not read and step.operator is None:
                raise ConfigError(f"{step.name}: expected an operator in the first place, got none")
            if len({one[:2] for one in read}) > 1 or (step.join == "add" and len(set(read)) > 1):
                raise ConfigError(f"{step.name}: {step.join} of {' and '.join(map(_told, read))}: they do not fit")
            height, width, channels = read[0] if read else (0, 0, 0)
            channels = sum(one[2] for one in read) if step.join == "concat" else channels
            operator = step.operator
            if operator is None:
                given.append((height, width, channels))
                continue
            takes = operator.in_height, operator.in_width, operator.in_channels
            if read and takes != (height, width, channels):
                raise ConfigError(
                    f"{step.name}: {operator} takes {_told(takes)}, but what it reads gives"
                    f" {_told((height, width, channels))}"
                )
            given.append((operator.out_height, operator.out_width, operator.out_channels))

    @cached_property
    def _operators(self) -> tuple[Operator, ...]:
        return tuple(step.operator for step in self.steps if step.operator is not None)

    @overload
    def __getitem__(self, index: int) -> Operator: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Operator]: ...
    def __getitem__(self, index: int | slice) -> Operator | Sequence[Operator]:
        return self._operators[index]

    def __len__(self) -> int:
        return len(self._operators)

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators)


def _told(shape: tuple[int, int, int]) -> str:
    return "×".join(map(str, shape))
