"""Measuring on another machine: over SSH with faults, over ADB without a Python there, over TVM RPC."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.errors import ConnectionLostError, DeviceError
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.profiling.samples import Measurements
from hwnas.progress import Progress, no_progress
from hwnas.spaces import OfaMbv3Space
from tests.devices.servers import Sshd, adb_phone, lacking, rpc_server, sshd

QUICK = ProfilingConfig(
    runtime="litert", networks=0, rounds=6, max_rounds=6, slice_ms=0.3, warm_up_ms=1.0, reference_copies=1
)
needs_ssh = pytest.mark.skipif(lacking("ssh") is not None, reason=str(lacking("ssh")))
needs_adb = pytest.mark.skipif(lacking("adb") is not None, reason=str(lacking("adb")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as running:
        yield running


def measure(
    space: OfaMbv3Space, device: DeviceConfig, config: ProfilingConfig, folder: Path, progress: Progress = no_progress
) -> Measurements:
    """The smallest and the largest network, the smallest as the reference; the journal stays in `folder`."""
    write, suffix = model_writer(config), runtime_named(config.runtime).suffix
    files = {}
    for name, large in (("small", False), ("large", True)):
        files[name] = folder / f"{name}{suffix}"
        if not files[name].exists():
            write(space.operators_of(space.extreme(large)), files[name], 0)
    with Journal(folder / "journal.jsonl", {}) as journal, connect(load_profile("local"), device) as transport:
        return measure_models(
            transport, files, files["small"], config, seed=0, journal=journal, progress=progress,
            shapes=dict.fromkeys((*files, "reference"), (config.batch, 1, 16, 16)),
        )  # fmt: skip


def events(folder: Path) -> list[str]:
    return (folder / "journal.jsonl").read_text().splitlines()


@needs_ssh
@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_board_over_ssh_is_measured(space: OfaMbv3Space, server: Sshd, tmp_path: Path, runtime: str) -> None:
    found = measure(space, server.config(), replace(QUICK, runtime=runtime, batch=2), tmp_path)
    assert 0 < found.latencies["small"].median_ms < found.latencies["large"].median_ms
    assert found.facts["runtime"] == runtime
    assert len(list((server.home / "hwnas" / "models").iterdir())) == 2  # the reference is the smallest network


@needs_ssh
def test_a_cut_connection_loses_nothing(space: OfaMbv3Space, server: Sshd, tmp_path: Path) -> None:
    config = replace(QUICK, rounds=60, max_rounds=60)
    cuts = 0

    def cut(share: float, status: str) -> None:
        nonlocal cuts
        if status == "measuring" and not cuts:
            cuts += 1
            server.cut()

    with pytest.raises(ConnectionLostError, match="run the same command again"):
        measure(space, server.config(), replace(config, slice_ms=20.0), tmp_path, cut)
    before = events(tmp_path)
    assert any('"sample"' in line for line in before)
    assert not any('"rejected"' in line for line in before)
    found = measure(space, server.config(), config, tmp_path)
    assert events(tmp_path)[: len(before)] == before
    taken = [line for line in events(tmp_path) if '"sample"' in line and '"id": "large"' in line]
    assert len(taken) == found.latencies["large"].rounds == 60


@needs_ssh
def test_a_runtime_that_the_board_lacks_is_named(space: OfaMbv3Space, server: Sshd, tmp_path: Path) -> None:
    (server.home / "onnxruntime.py").write_text("raise ImportError('No module named onnxruntime')")
    python = server.home / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={server.home} exec {sys.executable} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(DeviceError, match="pip install onnxruntime there"):
        measure(space, server.config(python=str(python)), replace(QUICK, runtime="onnxruntime"), tmp_path)


@needs_adb
def test_a_phone_without_python_is_measured_by_benchmark_model(space: OfaMbv3Space, tmp_path: Path) -> None:
    binary = tmp_path / "benchmark_model"
    standin = (Path(__file__).parents[1] / "devices" / "benchmark_model_standin.py").read_text()
    binary.write_text(standin.replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    with adb_phone(tmp_path / "adb", 2) as (serial, other):
        device = DeviceConfig(
            transport="adb", address=serial, folder=str(tmp_path / "adb" / "phone0" / "hwnas"), silence_s=60,
            benchmark_model=str(binary),
        )  # fmt: skip
        found = measure(space, device, replace(QUICK, rounds=2, max_rounds=2), tmp_path)
        assert set(found.latencies) == {"small", "large"}
        assert found.latencies["large"].median_ms > 0
        assert found.facts["driver"] == "benchmark_model"
        with pytest.raises(DeviceError, match="benchmark_model runs LiteRT alone"):
            measure(space, device, replace(QUICK, runtime="onnxruntime"), tmp_path / "o")
        first, second = sorted((serial, other))
        with pytest.raises(DeviceError, match=f"sees 2 phones.*{first}.*{second}"):
            measure(space, replace(device, address=None), QUICK, tmp_path)
        with pytest.raises(DeviceError, match=f"no phone 'R58N'.*{serial}"):
            measure(space, replace(device, address="R58N"), QUICK, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("tracked", [True, False])
def test_a_tvm_rpc_server_is_measured(space: OfaMbv3Space, tmp_path: Path, tracked: bool) -> None:
    config = replace(QUICK, runtime="tvm", rounds=3, max_rounds=3)
    with rpc_server(tracked) as address:
        device = DeviceConfig(transport="tvm_rpc", address=address, silence_s=100)
        found = measure(space, device, config, tmp_path)
        assert 0 < found.latencies["small"].median_ms < found.latencies["large"].median_ms
        assert found.facts["driver"] == "tvm_rpc"
    (tmp_path / "journal.jsonl").unlink()  # which, complete, needs no server
    # A tracker may name the server, and its port take a connection, for a moment after both were killed.
    with pytest.raises(DeviceError, match=r"does not answer|Failed to connect to server"):
        measure(space, device, config, tmp_path)
