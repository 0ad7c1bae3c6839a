"""The measuring agent in this process: its rules on clocks and devices that are written out here."""

from __future__ import annotations

import itertools
import json
import os
import random
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hwnas.profiling import agent
from hwnas.profiling.agent import Model, Slices, Stopwatch


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_inputs_are_drawn_by_their_type() -> None:
    floats = agent.make_input((4000,), "float32", rng())
    assert floats.dtype == np.float32
    assert (floats.mean(), floats.std()) == (pytest.approx(0, abs=0.06), pytest.approx(1, abs=0.04))
    assert agent.make_input((2, 3), "float16", rng()).dtype == np.float16
    signed, unsigned = (agent.make_input((20_000,), name, rng()) for name in ("int8", "uint8"))
    assert (signed.min(), signed.max()) == (-128, 127)
    assert (unsigned.min(), unsigned.max()) == (0, 127)
    indices = agent.make_input((1000,), "int64", rng(), 7)
    assert (indices.min(), indices.max(), indices.dtype) == (0, 6, np.int64)
    unknown = agent.make_input((1000,), "int32", rng())
    assert (unknown.min(), unknown.max()) == (0, 1)
    assert agent.make_input((1000,), "int8", rng(), 5).max() == 4


def test_shapes_are_one_input_or_several() -> None:
    [one] = agent.make_inputs((1, 3, 4, 4), rng())
    assert (one.shape, one.dtype) == ((1, 3, 4, 4), np.float32)
    first, second = agent.make_inputs([{"shape": (2, 2)}, {"shape": (5,), "dtype": "int64", "high": 3}], rng())
    assert (first.shape, second.shape, second.dtype) == ((2, 2), (5,), np.int64)
    assert second.max() <= 2
    assert list(itertools.islice(agent.ranges([{"shape": (1,), "high": 9}, {"shape": (1,)}]), 3)) == [9, None, None]
    assert list(itertools.islice(agent.ranges((1, 3, 4, 4)), 2)) == [None, None]
    assert list(itertools.islice(agent.ranges(None), 2)) == [None, None]


class Scripted:
    """A model whose samples are given; notes how many invocations each was asked for."""

    def __init__(self, samples: list[dict[str, Any]], expected_ms: float = 1.0) -> None:
        self.left, self.expected_ms, self.asked = list(samples), expected_ms, list[int]()
        self.identity = "scripted"

    def take(self, repeats: int) -> dict[str, Any]:
        self.asked.append(repeats)
        return self.left.pop(0)


def sample(share: float, disturbed: bool = True, ms: float = 1.0) -> dict[str, Any]:
    return {"ms": ms, "cpu_share": share, "disturbed": disturbed}


def slices(**changes: Any) -> Slices:
    return Slices({"slice_ms": 3.0, "min_repeats": 5, "max_retries": 2, **changes})


@pytest.mark.parametrize(
    ("expected_ms", "repeats"), [(1.0, 5), (0.5, 6), (0.41, 8), (0.001, 3000), (0.0001, 5000), (0.0, 5000), (99.0, 5)]
)
def test_a_slice_is_so_many_invocations(expected_ms: float, repeats: int) -> None:
    model = Scripted([sample(1.0, disturbed=False)], expected_ms)
    found = slices().take(model)  # type: ignore[arg-type]
    assert model.asked == [repeats]
    assert found["at"] > 0


def test_a_driver_sees_no_disturbance() -> None:
    found = slices().once(Scripted([{"ms": 2.0}]))  # type: ignore[arg-type]
    assert (found["disturbed"], found["cpu_share"]) == (False, 1.0)


def test_of_disturbed_slices_the_least_disturbed_counts() -> None:
    taken = slices()
    three = Scripted([sample(0.5, ms=1), sample(0.7, ms=2), sample(0.6, ms=3), sample(0.9, ms=4)])
    assert taken.take(three)["ms"] == 2  # type: ignore[arg-type]
    assert len(three.asked) == 3
    assert taken.disturbed == 2
    good = Scripted([sample(0.5, ms=1), sample(0.4, disturbed=False, ms=2), sample(0.9, ms=3)])
    assert taken.take(good)["ms"] == 2  # type: ignore[arg-type]
    assert len(good.asked) == 2
    none = Scripted([sample(0.99, disturbed=False)])
    taken.take(none)  # type: ignore[arg-type]
    assert (len(none.asked), taken.disturbed) == (1, 3)


def test_on_a_busy_machine_one_in_four_is_taken_again() -> None:
    """Ten to begin with, and a quarter for each sample."""
    taken = slices(max_retries=1)
    model = Scripted([sample(0.5)] * 500)
    for _ in range(200):
        taken.take(model)  # type: ignore[arg-type]
    assert taken.disturbed == pytest.approx(10 + 200 / 4, abs=1)
    assert len(model.asked) == 200 + taken.disturbed


def clock(monkeypatch: pytest.MonkeyPatch, **functions: Callable[[], float]) -> None:
    monkeypatch.setattr(agent, "time", SimpleNamespace(**functions))


@pytest.mark.parametrize(
    ("times", "expected", "asked"),
    [([5.0, 5.1, 1.0], 5.0, 2), ([5.0, 3.0, 2.0, 1.99, 1.0], 1.99, 4), ([1.0, 2.0, 3.0, 1.03, 9.0], 1.0, 4)],
)
def test_a_model_is_warm_when_it_takes_as_long_as_it_did(
    monkeypatch: pytest.MonkeyPatch, times: list[float], expected: float, asked: int
) -> None:
    """Within 3 per cent of the least before."""
    clock(monkeypatch, monotonic=lambda: 0.0)
    script = Scripted([{"ms": ms} for ms in times])
    assert Model("m", script.take, [0], 100.0).expected_ms == expected
    assert script.asked == [3] * asked


def test_warming_up_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(start=0, step=0.015)
    clock(monkeypatch, monotonic=lambda: next(ticks))
    script = Scripted([{"ms": ms} for ms in (8.0, 4.0, 2.0, 1.0, 0.5)])
    assert Model("m", script.take, [], 40.0).expected_ms == 2.0  # asked at 15, 30 and 45 ms


class Machine:
    """Invocations of given milliseconds, of which the process has its CPU for a share."""

    def __init__(self, times_ms: list[float], share: float = 1.0, overhead_ns: int = 100) -> None:
        self.now = self.cpu = 0.0
        self.times, self.share, self.overhead_ns = iter([times_ms[0], *times_ms]), share, overhead_ns

    def perf_counter_ns(self) -> int:
        self.now += self.overhead_ns
        return int(self.now)

    def thread_time_ns(self) -> int:
        return int(self.cpu)

    def invoke(self) -> None:
        ns = 1e6 * next(self.times)
        self.now += ns
        self.cpu += self.share * ns


def watch(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, threads: int = 1, steal: list[int] | None = None
) -> Stopwatch:
    monkeypatch.setattr(agent, "time", machine)
    ticks = iter(steal or [0, 0])
    monkeypatch.setattr(agent, "steal_ticks", lambda _: next(ticks))
    return Stopwatch(threads, [3])


def test_times_are_the_clocks_less_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0])
    stopwatch = watch(monkeypatch, machine)
    assert stopwatch.overhead_ns == 100
    found = stopwatch.take(machine.invoke, 11)
    assert [found[key] for key in ("p10", "ms", "p90")] == pytest.approx([2.0, 6.0, 10.0])
    assert (found["repeats"], found["disturbed"], found["cpu_share"]) == (11, False, 1.0)


@pytest.mark.parametrize(
    ("threads", "share", "steal", "disturbed"),
    [(1, 0.95, [5, 5], False), (1, 0.85, [5, 5], True), (2, 0.85, [5, 5], False), (2, 0.55, [5, 5], True),
     (1, 1.0, [5, 6], True), (4, 1.0, [5, 6], True)],
)  # fmt: skip
def test_what_disturbs_a_slice(
    monkeypatch: pytest.MonkeyPatch, threads: int, share: float, steal: list[int], disturbed: bool
) -> None:
    machine = Machine([2.0] * 5, share)
    found = watch(monkeypatch, machine, threads, steal).take(machine.invoke, 5)
    assert found["disturbed"] is disturbed
    assert found["cpu_share"] == pytest.approx(share, abs=1e-3)


def test_nothing_takes_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine([0.0] * 3)
    assert watch(monkeypatch, machine).take(machine.invoke, 3)["ms"] == 1e-6


STAT = """cpu  10 0 10 100 0 0 0 77 0 0
cpu0 5 0 5 50 0 0 0 30 0 0
cpu1 5 0 5 50 0 0 0 47 0 0
intr 123
cpu1 1 1 1 1 1 1 1 9999
"""


def test_steal_is_of_the_cpus_that_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "read_text", lambda path: STAT if path == "/proc/stat" else None)
    assert [agent.steal_ticks(cpus) for cpus in (None, [0], [1], [0, 1], [7])] == [77, 30, 47, 77, 0]
    monkeypatch.setattr(agent, "read_text", lambda _: "cpu0 1 2 3 4 5 6 7\n")
    assert agent.steal_ticks([0]) == 0  # an old kernel doesn't say
    monkeypatch.setattr(agent, "read_text", lambda _: None)
    assert agent.steal_ticks(None) == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor : 0\nmodel name : Fast CPU\nmodel name : Other\n", "Fast CPU"),
        ("processor : 0\nHardware : BCM2711\nModel : Raspberry Pi 4\n", "BCM2711"),
        ("processor : 0\nModel : Raspberry Pi 5\n", "Raspberry Pi 5"),
        ("Processor : ARMv7\n", "ARMv7"),
    ],
)
def test_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch, text: str, name: str) -> None:
    monkeypatch.setattr(agent, "read_text", lambda _: text)
    assert agent.cpu_model() == name


def test_the_fastest_cpus_are_taken_the_last_of_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[list[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: bound.append(cpus))
    speeds = {0: 9.0, 1: 9.0, 2: 5.0, 3: 5.0}
    monkeypatch.setattr(
        agent, "read_number", lambda path, scale: scale * speeds[int(path.split("/cpu/cpu")[1].split("/")[0])]
    )
    assert agent.pin(1) == [1]
    assert agent.pin(3) == [3, 0, 1]
    assert bound == [[1], [3, 0, 1]]
    monkeypatch.setattr(agent, "read_number", lambda *_: None)
    assert agent.pin(2) == [2, 3]

    def refused(_: int, __: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    assert agent.pin(1) is None


def test_numbers_are_read_in_their_unit(tmp_path: Path) -> None:
    (tmp_path / "freq").write_text("2400000\n")
    (tmp_path / "word").write_text("none")
    assert agent.read_number(str(tmp_path / "freq"), 1e-3) == pytest.approx(2400)
    assert agent.read_number(str(tmp_path / "word"), 1) is None
    assert agent.read_number(str(tmp_path / "absent"), 1) is None


def test_facts_are_of_the_first_cpu_and_the_hottest_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, str] = {"scaling_governor": "performance", "scaling_cur_freq": "1800000"}
    monkeypatch.setattr(agent, "cpu_model", lambda: "a CPU")

    def read(path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        if name == "temp":
            return {"/zone0": "41000", "/zone1": "63500", "/zone2": "none"}[folder]
        assert folder == "/sys/devices/system/cpu/cpu3/cpufreq"
        return asked[name]

    monkeypatch.setattr(agent, "read_text", read)
    zones = [Path(f"/zone{number}/temp") for number in range(3)]
    monkeypatch.setattr(agent, "Path", lambda _: SimpleNamespace(glob=lambda _: zones))
    facts = agent.device_facts([3, 1])
    assert (facts["soc"], facts["pinned_cpus"], facts["governor"]) == ("a CPU", [3, 1], "performance")
    assert facts["frequency_mhz"] == pytest.approx(1800)
    assert facts["temperature_c"] == pytest.approx(63.5)
    assert facts["cpus"] == os.cpu_count()


def test_models_take_turns_between_references(capsys: pytest.CaptureFixture[str]) -> None:
    models = [Scripted([sample(1.0, False)] * 9) for _ in range(5)]
    for number, model in enumerate(models):
        model.identity, model.rounds = f"m{number}", [0, 1] if number < 4 else [1]  # type: ignore[attr-defined]
    copies = [Scripted([sample(1.0, False)] * 20) for _ in range(2)]
    for copy in copies:
        copy.identity = agent.REFERENCE
    references: Iterator[Any] = itertools.cycle(enumerate(copies))
    agent.measure(models, references, slices(), {"runtime": "r 1", "reference_every": 2}, random.Random(0))  # type: ignore[arg-type]
    said = events(capsys.readouterr().out)
    taken = [event for event in said if event["event"] == "sample"]
    kinds = ["r" if event["id"] == "reference" else "m" for event in taken]
    assert "".join(kinds) == "rmmrmmr" + "rmmrmmrmr"
    assert [event["copy"] for event in taken if event["id"] == "reference"] == [0, 1, 0, 1, 0, 1, 0]
    rounds = [{event["id"] for event in taken if event["round"] == number} - {"reference"} for number in (0, 1)]
    assert rounds == [{"m0", "m1", "m2", "m3"}, {"m0", "m1", "m2", "m3", "m4"}]
    orders = [
        [event["id"] for event in taken if event["round"] == number and event["id"] != "reference"] for number in (0, 1)
    ]
    assert orders[0] != sorted(orders[0]) or orders[1] != sorted(orders[1])
    steps = [event for event in said if event["event"] == "step"]
    assert len(steps) == len(taken)
    assert steps[0]["doing"] == "measuring the reference network in r 1"
    assert {step["doing"] for step in steps[1:3]} == {f"measuring model {one} in r 1" for one in orders[0][:2]}


BINARY = """#!/bin/sh
for word; do case $word in --graph=*) file=${word#--graph=};; --num_runs=*) runs=${word#--num_runs=};; esac; done
case $file in *bad*) echo "ERROR: no such model" >&2; exit 1;; esac
echo "count=$runs first=9 curr=9 min=1000 max=9000 avg=4000 std=10 median=$(cat $file)000"
"""


def job(folder: Path, **changes: Any) -> dict[str, Any]:
    """A phone that runs benchmark_model: model files hold the milliseconds that they take."""
    binary = folder / "benchmark_model"
    binary.write_text(BINARY)
    binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    for name, ms in (("ref", 2), ("a", 3), ("b", 5)):
        (folder / name).write_text(str(ms))
    (folder / "bad").write_text("0")
    driver = {"kind": "benchmark_model", "command": ["sh", "-c"], "binary": str(binary)}
    models = [{"id": name, "file": str(folder / name), "shape": None, "rounds": [0, 1]} for name in ("a", "b", "bad")]
    return {
        "runtime": "litert", "threads": 2, "pin": False, "seed": 0, "slice_ms": 9.0, "min_repeats": 2, "max_retries": 1,
        "reference_every": 2, "reference_copies": 2, "warm_up_ms": 1.0, "reference": str(folder / "ref"),
        "reference_shape": None, "models": models, "driver": driver, **changes,
    }  # fmt: skip


def run(folder: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> list[dict[str, Any]]:
    path = folder / "job.json"
    path.write_text(json.dumps(job(folder, **changes)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", agent)  # as where it runs alone: drivers announce by way of it
        agent.main(str(path))
    return events(capsys.readouterr().out)


def test_a_whole_run_of_the_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(tmp_path, capsys)
    names = [event["event"] for event in said if event["event"] != "step"]
    assert names[0] == "facts"
    assert names[-1] == "done"
    facts = next(event for event in said if event["event"] == "facts")
    assert (facts["protocol"], facts["runtime"], facts["driver"]) == (2, "litert", "benchmark_model")
    assert [event["id"] for event in said if event["event"] == "loading"] == ["reference", "reference", "a", "b", "bad"]
    [rejected] = [event for event in said if event["event"] == "rejected"]
    assert (rejected["id"], rejected["error"]) == ("bad", "ERROR: no such model")
    taken = [event for event in said if event["event"] == "sample"]
    assert [(event["ms"], event["repeats"]) for event in taken if event["id"] == "a"] == [(3.0, 3)] * 2
    assert [(event["ms"], event["repeats"]) for event in taken if event["id"] == "b"] == [(5.0, 2)] * 2
    assert [event["copy"] for event in taken if event["id"] == "reference"] == [0, 1, 0, 1]
    done = said[-2]
    assert done["disturbed_slices"] == 0
    assert 0 <= done["elapsed_s"] < 100
    assert said[-1] == {"event": "step", "doing": ""}


def test_a_reference_that_is_rejected_ends_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(tmp_path, capsys, reference=str(tmp_path / "bad"))
    assert [event["id"] for event in said if event["event"] == "rejected"] == ["reference"] * 2
    assert not [event for event in said if event["event"] == "sample"]
    assert [event["event"] for event in said][-2:] == ["done", "step"]


def test_a_missing_runtime_is_an_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = run(tmp_path, capsys, runtime="tvm")
    [missing] = [event for event in said if event["event"] == "missing"]
    assert missing["error"].startswith("benchmark_model runs LiteRT alone, not tvm")
    assert missing["version"] == ""
    assert [event["event"] for event in said][-2:] == ["missing", "step"]


def test_long_errors_are_cut_and_put_on_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(_: dict[str, Any], __: np.random.Generator) -> None:
        raise ValueError("bad\n  " + "x" * 500)

    job = {"runtime": "r 1", "seed": 0, "warm_up_ms": 1.0}
    assert agent.load(refuse, {"id": "m"}, job) is None
    [event] = [one for one in events(capsys.readouterr().out) if one["event"] == "rejected"]
    assert event["error"] == ("bad " + "x" * 500)[:300]

    def silent(_: dict[str, Any], __: np.random.Generator) -> None:
        raise KeyError

    agent.load(silent, {"id": "m"}, job)
    assert [one["error"] for one in events(capsys.readouterr().out) if one["event"] == "rejected"] == ["KeyError"]


def test_the_clocks_overhead_is_the_median_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    now, steps = [0], itertools.cycle([30, 30, 30, 5000])

    def tick() -> int:
        now[0] += next(steps)
        return now[0]

    clock(monkeypatch, perf_counter_ns=tick)
    assert agent.timer_overhead_ns() in (30, 2515)
    now[0], steps = 0, itertools.cycle([30, 40, 30, 40, 30, 9000])
    assert agent.timer_overhead_ns(9) == 40


@pytest.mark.parametrize("threads", [1, 2])
def test_onnx_runtime_runs_with_so_many_threads(tmp_path: Path, threads: int) -> None:
    pytest.importorskip("onnxruntime")
    from hwnas.operators import Conv, GlobalPool
    from hwnas.profiling.config import ProfilingConfig
    from hwnas.profiling.runtimes import model_writer

    runtime = agent.OnnxRuntime(threads)
    assert (runtime.options.intra_op_num_threads, runtime.options.inter_op_num_threads) == (threads, 1)
    chain = [Conv(8, 8, 3, 4, kernel=3, stride=1, activation="relu"), GlobalPool(8, 8, 4, 4)]
    path = model_writer(ProfilingConfig())(chain, tmp_path / "m.onnx", 0)
    invoke = runtime.load({"file": str(path), "id": "m", "shape": [1, 3, 8, 8]}, rng())
    assert invoke() is None


def test_a_warm_up_of_a_second_ends_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(start=0, step=0.1001)
    clock(monkeypatch, monotonic=lambda: next(ticks))
    script = Scripted([{"ms": 2.0**-number} for number in range(20)])
    Model("m", script.take, [], 1000.0)
    assert len(script.asked) == 10  # at 1.001 s


def test_events_are_flushed_unless_more_comes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    out = SimpleNamespace(write=done.append, flush=lambda: done.append("flushed"))
    monkeypatch.setattr(agent, "sys", SimpleNamespace(stdout=out))
    agent.emit("one", value=1)
    agent.emit("two", flush=False)
    assert done == ['{"event": "one", "value": 1}\n', "flushed", '{"event": "two"}\n']


@pytest.mark.parametrize(("session", "written"), [(7, ["-10"]), (1, [])])
def test_priority_is_asked_for_within_and_of_a_session_of_its_own(
    monkeypatch: pytest.MonkeyPatch, session: int, written: list[str]
) -> None:
    asked: list[tuple[int, int, int]] = []
    wrote: list[str] = []
    group = SimpleNamespace(exists=lambda: True, write_text=wrote.append)
    monkeypatch.setattr(agent, "Path", lambda _: group)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(os, "getsid", lambda pid: session if pid == 0 else 99)
    monkeypatch.setattr(os, "setpriority", lambda *values: asked.append(values))
    assert agent.raise_priority() is True
    assert asked == [(os.PRIO_PROCESS, 0, -10)]
    assert wrote == written

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)
    assert agent.raise_priority() is False


def test_a_phone_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "getprop").write_text('#!/bin/sh\ntest "$1" = ro.soc.model && echo SM8550 || echo\n')
    (programs / "getprop").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    facts = next(event for event in run(tmp_path, capsys) if event["event"] == "facts")
    assert (facts["soc"], facts["product"], facts["pinned_cpus"]) == ("SM8550", None, None)
    assert facts["machine"] == os.uname().machine
    assert facts["runtime_version"] == "benchmark_model"
