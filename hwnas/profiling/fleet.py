"""Tables measured on several devices at once: units of one model share the work of one table.

Each unit measures common networks first. One that differs from the others is left out; the rest divide the models, and
what a unit does not finish the others do. Every unit has a journal of its own, in units of its own reference network:
all are divided by that, so a little faster unit is no other device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from hwnas.devices.connect import connect
from hwnas.devices.fleet import Unit
from hwnas.errors import DeviceError, ExecutorError, HwnasError, StorageError
from hwnas.executors.executor import Executor
from hwnas.profiling.agent import REFERENCE
from hwnas.profiling.build import TableWork
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal, read_events
from hwnas.profiling.measure import evaluate_journal, measure_models, rounds_left
from hwnas.profiling.samples import Measurements
from hwnas.progress import Progress, no_progress

__all__ = ["measure_tables"]

_COMMON = 8  # networks that each unit of a model measures
_ATTEMPTS = 3  # of a unit whose worker dies before it measures anything
_LOOK_S = 2.0


@dataclass(frozen=True)
class _Order:
    """What one unit is to measure, for a worker process."""

    unit: Unit
    models: Mapping[str, Path]
    reference: Path
    shapes: Mapping[str, Sequence[Any]]
    config: ProfilingConfig
    seed: int
    journal: Path
    identity: dict[str, Any]


@dataclass
class _Share:
    """What one unit does of a table. `left_out` says why it is no longer asked; what `is_trusted` is taken from it all
    the same. `deaths`: of its workers in a row, none of which measured anything. `settled` are the names of which
    nothing is left to be measured.
    """

    unit: Unit
    journal: Path
    deviation: float | None = None
    left_out: str = ""
    is_trusted: bool = True
    deaths: int = 0
    journal_size: int = 0
    settled: tuple[str, ...] = ()


def measure_tables(
    executor: Executor,
    works: Sequence[TableWork],
    units: Mapping[str, Sequence[Unit]],
    tolerance: float,
    say: Callable[[str], None],
    progress: Progress,
) -> list[Measurements]:
    """What each of `works`, whose models are written, is made of; `units` are those of each model, by name.

    All units work at once, a worker each. The facts of a table's measurements have `units`: of each how many models it
    measured, how far it is from the others and why it was left out, if it was, which `say` is told too. Raises
    ExecutorError for a host that there isn't, and DeviceError where a table has no unit left.
    """
    executor.check_hosts({unit.host for own in units.values() for unit in own if unit.host is not None})
    fleets = [_Fleet(work, units[work.device.name], tolerance, say) for work in works]
    with _watched(fleets, progress):
        while orders := [order for fleet in fleets for order in fleet.orders()]:
            answers = executor.each(
                "profile", _measured, orders, host_of=lambda order: order.unit.host, lost=lambda _, error: error
            )
            for number, problem in answers:
                for fleet in fleets:
                    fleet.note(orders[number], problem)
    return [fleet.measured() for fleet in fleets]


def _measured(order: _Order) -> HwnasError | None:
    """Measures into the order's journal; what the device failed with."""
    try:
        with (
            connect(order.unit.profile, order.unit.device) as transport,
            Journal(order.journal, order.identity) as journal,
        ):
            measure_models(
                transport, order.models, order.reference, order.config, seed=order.seed, journal=journal,
                progress=no_progress, shapes=order.shapes,
            )  # fmt: skip
    except (DeviceError, StorageError) as error:  # StorageError: the device is full
        return error
    return None


class _Fleet:
    """The units of one table, and how far they are."""

    def __init__(self, work: TableWork, units: Sequence[Unit], tolerance: float, say: Callable[[str], None]) -> None:
        self._work, self._tolerance, self._say = work, tolerance, say
        self._names = list(work.models.files)
        self._common = _spread([name for name in self._names if name.startswith("n")] or self._names, _COMMON)
        self._is_checked = len(units) == 1
        self._shares = [
            _Share(unit, work.folder / "units" / f"{number}-{re.sub(r'[^A-Za-z0-9.-]+', '-', unit.name)}.jsonl")
            for number, unit in enumerate(units, 1)
        ]

    @property
    def journals(self) -> list[Path]:
        return [share.journal for share in self._shares]

    @property
    def samples(self) -> int:
        """Those that are needed at least."""
        return self._work.config.rounds * len(self._names)

    def orders(self) -> list[_Order]:
        """What the units are to do next; nothing when all is measured. DeviceError where no unit is left."""
        if not self._is_checked:
            ahead = [
                self._order(share, self._common) for share in self._alive() if not self._settled(share, self._common)
            ]
            if ahead:
                return ahead
            self._compare()
            self._is_checked = True
        holders = self._holders()
        pending = [name for name in self._names if name not in holders]
        alive = self._alive() if pending else [share for share in self._shares if not share.left_out]
        own = {id(share): [name for name, holder in holders.items() if holder is share] for share in alive}
        for name in pending:
            min(own.values(), key=len).append(name)
        return [
            self._order(share, own[id(share)])
            for share in alive
            if own[id(share)] and not self._settled(share, own[id(share)])
        ]

    def note(self, order: _Order, problem: HwnasError | None) -> None:
        """What came of an order, where it was one of this table's."""
        for share in self._shares:
            if share.journal != order.journal:
                continue
            if isinstance(problem, ExecutorError):
                # One worker that dies takes all of a machine's along: those that measured meanwhile are not counted.
                size = share.journal.stat().st_size if share.journal.exists() else 0
                share.deaths = share.deaths + 1 if size == share.journal_size else 1
                share.journal_size = size
            if problem is None:
                share.settled = tuple(order.models)
            elif not isinstance(problem, ExecutorError) or share.deaths == _ATTEMPTS:
                self._leave_out(share, str(problem), is_trusted=self._is_checked)

    def measured(self) -> Measurements:
        """Each model's latency by the unit that has it, on the scale of the units' common reference."""
        holders = self._holders()
        taken = {number: [name for name, one in holders.items() if one is share]
                 for number, share in enumerate(self._shares)}  # fmt: skip
        own = {number: self._evaluated(self._shares[number], names) for number, names in taken.items() if names}
        reference_ms = float(np.median([one.reference_now_ms for one in own.values()]))
        parts = [self._evaluated(self._shares[number], taken[number], reference_ms) for number in own]
        facts = {
            **parts[0].facts,
            "units": [
                {"unit": share.unit.name, "models": len(taken[number]), "deviation": share.deviation,
                 "reference_ms": own[number].reference_now_ms if number in own else None, "left_out": share.left_out}
                for number, share in enumerate(self._shares)
            ],
        }  # fmt: skip
        latencies = {name: one for part in parts for name, one in part.latencies.items()}
        rejected = {name: reason for part in parts for name, reason in part.rejected.items()}
        disturbed = float(np.mean([part.disturbed_share for part in parts]))
        return Measurements(latencies, rejected, facts, reference_ms, reference_ms, disturbed)

    def _compare(self) -> None:
        """Leaves out the unit that is furthest from the others, until none is further than the tolerance."""
        while len(alive := self._alive()) > 1:
            found = [self._evaluated(share, self._common).latencies for share in alive]
            names = [name for name in self._common if all(name in one for one in found)]
            if not names:
                return
            ms = np.array([[one[name].median_ms for name in names] for one in found])
            # Of two nothing says which one is right: a unit that is hot or busy is slower.
            ratios = ms / (np.median(ms, axis=0) if len(alive) > 2 else ms[ms.mean(axis=1).argmin()])
            scale = np.median(ratios, axis=1)
            shape = np.median(np.abs(ratios / scale[:, None] - 1), axis=1)
            deviations = np.maximum(np.abs(scale - 1), shape)
            for share, deviation in zip(alive, deviations, strict=True):
                share.deviation = round(float(deviation), 4)
            worst = int(deviations.argmax())
            if deviations[worst] <= self._tolerance:
                return
            reason = f"common models take {scale[worst]:.2f} × as long as on the other units"
            if shape[worst] > abs(scale[worst] - 1):
                reason = f"common models are {shape[worst]:.0%} off against each other"
            self._leave_out(alive[worst], f"{reason}; fleet.tolerance={self._tolerance:g}", is_trusted=False)

    def _leave_out(self, share: _Share, reason: str, is_trusted: bool) -> None:
        share.left_out, share.is_trusted = reason, is_trusted
        self._say(f"profile: {share.unit.name} is left out: {reason}")

    def _alive(self) -> list[_Share]:
        alive = [share for share in self._shares if not share.left_out]
        if not alive:
            reasons = "; ".join(f"{share.unit.name}: {share.left_out}" for share in self._shares)
            raise DeviceError(f"{self._work.device.name}: no unit is left to measure with: {reasons}")
        return alive

    def _holders(self) -> dict[str, _Share]:
        """Of each model that is measured in as many rounds as are needed, or rejected, the unit that has it."""
        holders: dict[str, _Share] = {}
        for share in self._shares:
            if share.is_trusted:
                events = read_events(share.journal, self._work.identity)
                if any(event["event"] == "sample" and event["id"] == REFERENCE for event in events):
                    left = rounds_left(dict.fromkeys(self._names, self._work.config.rounds), events)
                    holders |= {name: share for name in self._names if name not in left and name not in holders}
        return holders

    @staticmethod
    def _settled(share: _Share, names: Sequence[str]) -> bool:
        return set(names) <= set(share.settled)

    def _order(self, share: _Share, names: Sequence[str]) -> _Order:
        models = self._work.models
        return _Order(
            share.unit, {name: models.files[name] for name in names}, models.reference, models.shapes,
            self._work.config, self._work.seed, share.journal, self._work.identity,
        )  # fmt: skip

    def _evaluated(self, share: _Share, names: Sequence[str], reference_ms: float | None = None) -> Measurements:
        files = self._work.models.files
        with Journal(share.journal, self._work.identity) as journal:
            found = evaluate_journal(journal, files, self._work.config, reference_ms)
        wanted = set(names)
        return replace(
            found,
            latencies={name: one for name, one in found.latencies.items() if name in wanted},
            rejected={name: why for name, why in found.rejected.items() if name in wanted},
        )


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of `names`, evenly from first to last."""
    return [names[place] for place in dict.fromkeys(np.linspace(0, len(names) - 1, count).round().astype(int).tolist())]


@contextmanager
def _watched(fleets: Sequence[_Fleet], progress: Progress) -> Iterator[None]:
    """While the journals are written, `progress` is told how many of the samples they have."""
    ended, total = Event(), sum(fleet.samples for fleet in fleets)
    ends: dict[Path, int] = {}
    seen = 0

    def watch() -> None:
        nonlocal seen
        while not ended.wait(_LOOK_S):
            for path in [path for fleet in fleets for path in fleet.journals if path.exists()]:
                with path.open("rb") as file:
                    file.seek(ends.get(path, 0))
                    whole = file.read().rpartition(b"\n")[0]
                ends[path] = ends.get(path, 0) + len(whole) + bool(whole)
                seen += sum(b'"sample"' in line and b'"copy"' not in line for line in whole.split(b"\n"))
            progress(min(1.0, seen / total), "measuring")

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
