"""Units of one model share a table: what differs or fails is left out, and no model is missing or there twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.fleet import Unit
from hwnas.devices.profile import DeviceProfile, load_profile
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError, ExecutorError
from hwnas.executors.config import ExecutorConfig
from hwnas.executors.executor import Crew, Executor
from hwnas.executors.local import LocalExecutor
from hwnas.executors.task import Outcome, Task
from hwnas.profiling import fleet
from hwnas.profiling.build import TableWork
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.fleet import measure_tables
from hwnas.profiling.samples import Measurements
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space
from tests.profiling.board import Board

CONFIG = ProfilingConfig(networks=20, rounds=3, max_rounds=3, folds=2)


class Here(Executor):
    """One item after another in this process, where boards that are made up can be reached."""

    def __init__(self) -> None:
        super().__init__(1, 1, 100)

    def _crew(self, title: str, task: Task[Any, Any]) -> Crew:
        return _Here(title, task)


class _Here(Crew):
    def __init__(self, title: str, task: Task[Any, Any]) -> None:
        self._title, self._task = title, task
        self._items: dict[int, Any] = {}

    def submit(self, item: Any, host: str | None) -> int:  # noqa: ARG002
        self._items[len(self._items)] = item
        return len(self._items) - 1

    def finished(self, handles: Collection[int]) -> Iterable[int]:
        return list(handles)

    def outcome(self, handle: int) -> Outcome[Any]:
        try:
            return self._task(self._items[handle])
        except SystemExit as error:
            raise ExecutorError(f"{self._title}: died") from error

    def end(self, handles: Collection[int]) -> None:
        """Nothing runs beside."""


class Rack:
    """Boards by address: each `speed` times as slow as the first; what is `cut` stops after so many samples."""

    def __init__(self) -> None:
        self.speeds: dict[str, float] = {}
        self.cut: dict[str, int] = {}
        self.deaths: dict[str, int] = {}
        self.odd: set[str] = set()
        self.asked: list[tuple[str, list[str]]] = []

    def units(self, **speeds: float) -> list[Unit]:
        self.speeds = speeds
        return [unit(name) for name in speeds]

    @contextmanager
    def connect(self, profile: DeviceProfile, config: DeviceConfig) -> Iterator[Transport]:
        assert profile.name == "local"
        yield _OnRack(self, str(config.address))


class _OnRack(Board):
    def __init__(self, rack: Rack, address: str) -> None:
        super().__init__(
            noise={name: [1.5] for name in (f"n{i}" for i in range(0, 20, 2))} if address in rack.odd else {}
        )
        self.rack, self.address, self.taken = rack, address, 0

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        self.rack.asked.append((self.address, [model["id"] for model in job["models"]]))
        for line in super().run(script, job):
            if self.address in self.rack.cut and self.taken >= self.rack.cut[self.address]:
                if self.rack.deaths.get(self.address, 0):
                    self.rack.deaths[self.address] -= 1
                    raise SystemExit(1)
                raise DeviceError("does not answer")
            self.taken += '"sample"' in line
            yield line

    def slowness(self) -> float:
        return super().slowness() * self.rack.speeds[self.address]


def unit(address: str, host: str | None = None) -> Unit:
    return Unit(DeviceConfig(transport="ssh", address=address), load_profile("local"), host)


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    made = Rack()
    monkeypatch.setattr(fleet, "connect", made.connect)
    return made


Measure = Callable[..., tuple[Measurements, list[str]]]


@pytest.fixture
def measure(space: OfaMbv3Space, device: DeviceProfile, tmp_path: Path) -> Measure:
    def measured(units: list[Unit], tolerance: float = 0.1) -> tuple[Measurements, list[str]]:
        said: list[str] = []
        with TableWork(space, device, CONFIG, tmp_path, 0) as work, Here() as executor:
            work.models.write(no_progress)
            [found] = measure_tables(executor, [work], {"local": units}, tolerance, said.append, no_progress)
        return found, said

    return measured


def expected(found: Measurements, names: Collection[str]) -> None:
    assert set(found.latencies) == {name for name in names if name != "reference"}
    assert not found.rejected


def test_units_divide_a_table(rack: Rack, measure: Measure, tmp_path: Path) -> None:
    found, said = measure(rack.units(a=1.0, b=1.04, c=0.98))
    own = {path.stem: 1e-3 * path.stat().st_size for path in tmp_path.rglob("*.onnx")}
    expected(found, own)
    # In ms of the middle unit, whichever measured it.
    for name, one in found.latencies.items():
        assert one.median_ms == pytest.approx(own[name], rel=1e-6)
    assert not said
    facts = found.facts["units"]
    assert [one["unit"] for one in facts] == ["local at a", "local at b", "local at c"]
    assert sum(one["models"] for one in facts) == len(found.latencies)
    assert max(one["models"] for one in facts) - min(one["models"] for one in facts) <= 1
    assert [one["deviation"] for one in facts] == [0.0, pytest.approx(0.04, abs=1e-3), pytest.approx(0.02, abs=1e-3)]
    # Each is asked for the common networks, then for its part.
    common = rack.asked[0][1]
    assert len(common) == 8
    assert [(address, names == common) for address, names in rack.asked[:3]] == [("a", True), ("b", True), ("c", True)]
    assert [address for address, _ in rack.asked[3:]] == ["a", "b", "c"]
    parts = [set(names) for _, names in rack.asked[3:]]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(found.latencies) - 8


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_a_unit_of_another_speed_is_left_out(rack: Rack, measure: Measure, speed: float) -> None:
    found, said = measure(rack.units(a=1.0, b=speed, c=1.0))
    [line] = said
    assert line.startswith(f"profile: local at b is left out: common models take {speed:.2f} × as long as on the")
    assert [(one["models"], bool(one["left_out"])) for one in found.facts["units"]][1] == (0, True)
    assert found.facts["units"][1]["deviation"] == pytest.approx(abs(speed - 1), abs=0.01)


def test_of_two_that_differ_the_slower_is_left_out(rack: Rack, measure: Measure) -> None:
    _, said = measure(rack.units(a=1.5, b=1.0))
    reason = "common models take 1.50 × as long as on the other units; fleet.tolerance=0.1"
    assert said == [f"profile: local at a is left out: {reason}"]
    _, said = measure(rack.units(a=1.5, b=1.0), tolerance=0.6)
    assert not said


def test_a_unit_whose_networks_differ_among_each_other_is_left_out(rack: Rack, measure: Measure) -> None:
    rack.odd = {"b"}
    _, said = measure(rack.units(a=1.0, b=0.85, c=1.0))
    assert [line.partition(":")[2].partition(" is")[0] for line in said] == [" local at b"]


def test_what_a_failing_unit_does_not_finish_others_do(rack: Rack, measure: Measure) -> None:
    rack.cut = {"b": 60}
    found, said = measure(rack.units(a=1.0, b=1.0))
    assert said == ["profile: local at b is left out: does not answer"]
    assert len(found.latencies) == found.facts["units"][0]["models"] + found.facts["units"][1]["models"]
    again, _ = measure(rack.units(a=1.0))
    assert set(again.latencies) == set(found.latencies)


def test_a_worker_that_dies_is_started_again(rack: Rack, measure: Measure) -> None:
    rack.cut, rack.deaths = {"b": 40}, {"b": 2}
    found, said = measure(rack.units(a=1.0, b=1.0))
    assert not said
    assert [address for address, _ in rack.asked].count("b") == 4
    assert [one["models"] for one in found.facts["units"]] == [pytest.approx(len(found.latencies) / 2, abs=1)] * 2


def test_a_worker_that_gets_further_each_time_is_started_as_often(rack: Rack, measure: Measure) -> None:
    rack.cut, rack.deaths = {"b": 40}, {"b": 9}
    found, said = measure(rack.units(b=1.0))
    assert not said
    assert rack.deaths["b"] < 9 - 3
    assert [one["models"] for one in found.facts["units"]] == [len(found.latencies)]


def test_a_worker_that_always_dies_costs_its_unit(rack: Rack, measure: Measure) -> None:
    rack.cut, rack.deaths = {"b": 0}, {"b": 9}
    found, said = measure(rack.units(a=1.0, b=1.0))
    assert said == ["profile: local at b is left out: profile: died"]
    assert rack.deaths == {"b": 6}
    assert [one["models"] for one in found.facts["units"]] == [len(found.latencies), 0]


def test_no_unit_is_left(rack: Rack, measure: Measure) -> None:
    rack.cut = {"a": 3, "b": 50}
    with pytest.raises(DeviceError, match=r"^local: no unit is left to measure with: local at a: does not answer; lo"):
        measure(rack.units(a=1.0, b=1.0))
    asked = len(rack.asked)
    rack.cut = {}
    found, said = measure(rack.units(a=1.0, b=1.0))  # what was measured before is not measured again
    assert not said
    again = [(address, len(names)) for address, names in rack.asked[asked:]]
    assert sum(count for _, count in again) < len(found.latencies) + 8


def test_hosts_are_a_clusters(space: OfaMbv3Space, device: DeviceProfile, tmp_path: Path) -> None:
    with (
        TableWork(space, device, CONFIG, tmp_path, 0) as work,
        LocalExecutor(ExecutorConfig(workers=1)) as executor,
        pytest.raises(ExecutorError, match=r"^workers on rack1: only a cluster has hosts: give executor=ray and"),
    ):
        measure_tables(executor, [work], {"local": [unit("a", "rack1")]}, 0.1, print, no_progress)
