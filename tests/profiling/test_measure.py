"""The contract of runtimes in the measuring agent, run on each; and how measurements survive faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError, StorageError
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.runtimes import RUNTIMES, model_writer, runtime_named
from hwnas.profiling.samples import Measurements
from hwnas.progress import no_progress
from hwnas.spaces import OfaMbv3Space


class Counting(Transport):
    """A transport that counts the runs of another, notes what is asked, and can break off after some lines."""

    def __init__(self, inner: Transport, break_after: int | None = None) -> None:
        self.inner = inner
        self.break_after = break_after
        self.jobs: list[Mapping[str, Any]] = []

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        return self.inner.stage(files)

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        self.jobs.append(job)
        with closing(self.inner.run(script, job)) as lines:
            for number, line in enumerate(lines):
                if number == self.break_after:
                    raise DeviceError("unplugged")
                yield line

    def close(self) -> None:
        self.inner.close()


def models(space: OfaMbv3Space, config: ProfilingConfig, folder: Path) -> dict[str, Path]:
    """The smallest and the largest network of the space."""
    write, suffix = model_writer(config), runtime_named(config.runtime).suffix
    return {
        name: write(space.operators_of(space.extreme(large)), folder / f"{name}{suffix}", 0)
        for name, large in (("small", False), ("large", True))
    }


def measure(
    transport: Transport, files: dict[str, Path], config: ProfilingConfig, folder: Path, name: str = "journal"
) -> Measurements:
    with Journal(folder / f"{name}.jsonl", {"files": sorted(files)}) as journal:
        return measure_models(
            transport, files, files["small"], config, seed=0, journal=journal, progress=no_progress,
            shapes=dict.fromkeys((*files, "reference"), (config.batch, 1, 16, 16)),
        )  # fmt: skip


def test_latencies_are_plausible(
    space: OfaMbv3Space, quick: ProfilingConfig, transport: Transport, tmp_path: Path
) -> None:
    config = replace(quick, rounds=6, slice_ms=1.0)
    found = measure(transport, models(space, config, tmp_path), config, tmp_path)
    small, large = found.latencies["small"], found.latencies["large"]
    assert 0.0005 < small.median_ms < large.median_ms < 5
    assert small.p10_ms <= small.median_ms <= small.p90_ms
    assert small.rounds == 6
    assert small.samples >= 6 * config.min_repeats
    # The reference is the small network: measured through different loadings, it must come out alike.
    assert small.median_ms == pytest.approx(found.reference_ms, rel=0.3)
    assert found.facts["runtime"] == quick.runtime
    assert found.facts["runtime_version"] == RUNTIMES[quick.runtime].installed_version
    assert found.facts["soc"]
    assert len(found.facts["pinned_cpus"] or [0]) == 1


def test_two_threads_run(space: OfaMbv3Space, quick: ProfilingConfig, transport: Transport, tmp_path: Path) -> None:
    config = replace(quick, threads=2)
    assert measure(transport, models(space, config, tmp_path), config, tmp_path).latencies["large"].median_ms > 0


def test_a_model_that_the_runtime_rejects_is_said_and_the_rest_goes_on(
    space: OfaMbv3Space, quick: ProfilingConfig, transport: Transport, tmp_path: Path
) -> None:
    files = models(space, quick, tmp_path)
    broken = tmp_path / f"broken{files['small'].suffix}"
    broken.write_bytes(b"this is no model")
    found = measure(transport, {**files, "broken": broken}, quick, tmp_path)
    assert set(found.latencies) == {"small", "large"}
    assert set(found.rejected) == {"broken"}
    assert found.rejected["broken"]
    assert "\n" not in found.rejected["broken"]


def test_a_reference_that_the_runtime_rejects_is_an_error(
    quick: ProfilingConfig, transport: Transport, tmp_path: Path
) -> None:
    broken = tmp_path / f"broken{RUNTIMES[quick.runtime].suffix}"
    broken.write_bytes(b"this is no model")
    with pytest.raises(DeviceError, match="rejects the reference network"):
        measure(transport, {"small": broken}, quick, tmp_path)


def test_a_broken_off_measurement_goes_on_and_measures_nothing_twice(
    space: OfaMbv3Space, quick: ProfilingConfig, transport: Transport, tmp_path: Path
) -> None:
    config = replace(quick, rounds=4, reference_copies=1)
    files = models(space, config, tmp_path)
    # facts, three loadings, then reference, model, model, reference a round: broken off in the second round.
    with pytest.raises(DeviceError, match="unplugged"):
        measure(Counting(transport, break_after=10), files, config, tmp_path)
    journal = tmp_path / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"event": "sample", "id": "sm')  # the line that was being written
    again = Counting(transport)
    found = measure(again, files, config, tmp_path)
    asked = {model["id"]: model["rounds"] for job in again.jobs for model in job["models"]}
    assert sorted(map(len, asked.values())) in ([2, 3], [3, 3])
    assert all(0 not in rounds for rounds in asked.values())
    assert {one.rounds for one in found.latencies.values()} == {4}
    events = [json.loads(line) for line in journal.read_text().splitlines()[1:]]
    taken = [(e["id"], e["round"]) for e in events if e["event"] == "sample" and e["id"] != "reference"]
    assert len(taken) == len(set(taken)) == 8
    finished = Counting(transport)
    assert measure(finished, files, config, tmp_path).latencies == found.latencies
    assert finished.jobs == []


def test_a_model_that_crashes_the_runtime_is_left_out(
    space: OfaMbv3Space, quick: ProfilingConfig, transport: Transport, tmp_path: Path
) -> None:
    class Crashing(Counting):
        """Dies when it is given the large model, as a runtime with a segmentation fault does."""

        def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
            for line in super().run(script, job):
                yield line
                if json.loads(line) == {"event": "loading", "id": "large"}:
                    raise DeviceError("the measuring process was killed by SIGSEGV")

    found = measure(Crashing(transport), models(space, quick, tmp_path), quick, tmp_path)
    assert set(found.latencies) == {"small"}
    assert "SIGSEGV" in found.rejected["large"]


def test_a_missing_runtime_is_named(
    space: OfaMbv3Space, transport: Transport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = ProfilingConfig(networks=0, rounds=2)
    with pytest.raises(
        DeviceError, match=r"No module named onnxruntime.*pip install onnxruntime there.*hwnas\[onnxruntime\]"
    ):
        measure(transport, models(space, config, tmp_path), config, tmp_path)


def test_a_journal_of_something_else_is_not_used(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl", {"seed": 0}) as first:
        first.append({"event": "sample"})
    with Journal(tmp_path / "j.jsonl", {"seed": 0}) as same:
        assert same.events == [{"event": "sample"}]
    with Journal(tmp_path / "j.jsonl", {"seed": 1}) as other:
        assert other.events == []
    assert (tmp_path / "j.jsonl").read_text() == '{"identity": {"seed": 1}}\n'


def test_a_journal_is_of_one_process(tmp_path: Path) -> None:
    path = tmp_path / "work" / "j.jsonl"
    code = (
        "import sys, time, pathlib; from hwnas.profiling.journal import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]), {}); journal.append({'event': 'sample'})\n"
        "print('opened', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "opened\n"
        with pytest.raises(StorageError, match="work is being written by another hwnas process"):
            Journal(path, {"seed": 1})
        other.kill()
        other.wait()
    assert len(path.read_text().splitlines()) == 2  # the other's, which was not started anew
    with Journal(path, {}) as journal:  # a killed process holds nothing
        assert journal.events == [{"event": "sample"}]


def test_a_journal_that_cannot_be_opened_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        Journal(tmp_path / "j.jsonl", {})
    code = "import sys, pathlib; from hwnas.files import locked\nwith locked(pathlib.Path(sys.argv[1])): pass"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / ".j.jsonl.lock")], check=True)


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    with Journal(tmp_path / "j.jsonl", {}) as journal:
        journal._file = full.open("w")
        with pytest.raises(StorageError, match="No space left"):
            journal.append({"event": "sample"})
