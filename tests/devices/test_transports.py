"""The contract of transports, run on each of them, over real servers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError
from tests.devices.servers import adb_phone, lacking, rpc_server, sshd

SILENCE_S = 3.0


@pytest.fixture(scope="module", params=["local", "ssh", "adb", "tvm_rpc"])
def device(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeviceConfig]:
    """How to reach the device of one transport."""
    if reason := lacking(request.param):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "local":
        yield DeviceConfig(silence_s=SILENCE_S)
    elif request.param == "ssh":
        with sshd(folder / "sshd") as server:
            yield server.config(silence_s=SILENCE_S)
    elif request.param == "adb":
        with adb_phone(folder / "adb") as (serial,):
            there = str(folder / "adb" / "phone0" / "hwnas")
            yield DeviceConfig(
                transport="adb", address=serial, folder=there, python=sys.executable, silence_s=SILENCE_S
            )
    else:
        with rpc_server() as address:
            yield DeviceConfig(transport="tvm_rpc", address=address, silence_s=SILENCE_S)


@pytest.fixture
def transport(device: DeviceConfig) -> Iterator[Transport]:
    with connect(load_profile("local"), device) as connected:
        yield connected


def script(folder: Path, body: str) -> Path:
    path = folder / "script.py"
    path.write_text(f"import json, os, signal, sys, time\njob = json.load(open(sys.argv[1]))\n{body}\n")
    return path


def test_the_job_arrives_and_lines_come_back(transport: Transport, tmp_path: Path) -> None:
    body = "for word in job['words']:\n    print(word, flush=True)\nsys.stdout.write('no newline')"
    lines = list(transport.run(script(tmp_path, body), {"words": ["one", "zwei → 2"]}))
    assert lines == ["one", "zwei → 2", "no newline"]


def test_staged_files_can_be_read_there(transport: Transport, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    (tmp_path / "same.bin").write_bytes(b"weights")
    (tmp_path / "other.bin").write_bytes(b"o" * 300_000)
    files = {name: tmp_path / f"{name}.bin" for name in ("model", "same", "other")}
    for _ in range(2):
        staged = transport.stage(files)
        body = "print([open(job[name], 'rb').read()[:7] for name in ('model', 'same', 'other')])"
        assert list(transport.run(script(tmp_path, body), staged)) == ["[b'weights', b'weights', b'ooooooo']"]


def test_lines_come_while_the_script_runs(transport: Transport, tmp_path: Path) -> None:
    body = "print('early', flush=True)\ntime.sleep(1)\nprint('late')"
    with closing(transport.run(script(tmp_path, body), {})) as lines:
        next(lines)
        start = time.monotonic()
        next(lines)
    assert time.monotonic() - start > 0.5


def test_a_failure_tells_the_last_words(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"status 1.*ZeroDivisionError") as caught:
        list(transport.run(script(tmp_path, "print('x')\n1 / 0"), {}))
    assert "\n" not in str(caught.value)


def test_a_crash_tells_the_signal(transport: Transport, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="SIGSEGV"):
        list(transport.run(script(tmp_path, "os.kill(os.getpid(), signal.SIGSEGV)"), {}))


def test_much_noise_does_not_block(transport: Transport, tmp_path: Path) -> None:
    body = "for _ in range(3000):\n    sys.stderr.write('x' * 1000 + chr(10))\nprint('done')"
    assert list(transport.run(script(tmp_path, body), {})) == ["done"]


def test_silence_ends_it(device: DeviceConfig, tmp_path: Path) -> None:
    start = time.monotonic()
    with (
        connect(load_profile("local"), replace(device, silence_s=1.0)) as transport,
        pytest.raises(DeviceError, match=r"said nothing for 1 s"),
    ):
        list(transport.run(script(tmp_path, "print(1, flush=True)\ntime.sleep(60)"), {}))
    assert time.monotonic() - start < 30


def test_an_exception_in_the_consumer_ends_the_process(transport: Transport, tmp_path: Path) -> None:
    body = "print(os.getpid(), flush=True)\ntime.sleep(60)"
    pid = 0

    def interrupted() -> None:
        nonlocal pid
        with closing(transport.run(script(tmp_path, body), {})) as lines:
            pid = int(next(lines))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert pid != os.getpid()
    end = time.monotonic() + 30
    while not ended(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = DeviceConfig(python="/no/such/python")
    with (
        connect(load_profile("local"), config) as local,
        pytest.raises(DeviceError, match=r"/no/such/python.*device\.python"),
    ):
        list(local.run(script(tmp_path, ""), {}))
