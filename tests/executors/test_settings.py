"""Executors that can't be had: one line that says what to do, within seconds, and before any work."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from hwnas.cli.load import load_config
from hwnas.errors import ConfigError, ExecutorError, MissingExtraError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig, cores


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "rai"}, "executor.kind: did you mean 'ray'? valid: local, ray; got 'rai'"),
        ({"workers": -1}, "executor.workers: expected 0 (one a core) or more, got -1"),
        ({"address": "10.0.0.1:6379"}, "executor.address: only executor=ray has one, got '10.0.0.1:6379' with local"),
        ({"kind": "ray", "address": "10.0.0.1"}, "expected HOST:PORT"),
        ({"kind": "ray", "address": "10.0.0.1:0"}, "expected HOST:PORT"),
        ({"kind": "ray", "address": ":6379"}, "expected HOST:PORT"),
        ({"kind": "ray", "address": ""}, "expected HOST:PORT"),
        ({"kind": "ray", "address": "http://10.0.0.1:8265"}, "expected HOST:PORT"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ExecutorConfig(**settings)  # type: ignore[arg-type]
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_it_is_a_group() -> None:
    assert load_config(["experiment=smoke"]).executor == ExecutorConfig()
    chosen = load_config(["experiment=smoke", "executor=ray", "executor.workers=3", "executor.address=10.0.0.1:6379"])
    assert chosen.executor == ExecutorConfig("ray", 3, "10.0.0.1:6379")


def test_workers_are_limited_to_the_work_there_is() -> None:
    assert ExecutorConfig().limited(1) == ExecutorConfig(workers=1)
    assert ExecutorConfig().limited(10_000).workers == cores()
    assert ExecutorConfig(workers=3).limited(2).workers == 2
    assert ExecutorConfig(workers=3).limited(0).workers == 1
    assert ExecutorConfig("ray", address="10.0.0.1:6379").limited(50).workers == 50  # as many as the cluster has
    assert ExecutorConfig(workers=1).is_this_process
    assert not ExecutorConfig("ray", workers=1).is_this_process
    assert [ExecutorConfig(workers=number).is_asked for number in (0, 1, 2)] == [False, True, True]
    assert ExecutorConfig("ray").is_asked


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"executor=ray needs ray, .*pip install 'hwnas\[ray\]'"):
        open_executor(ExecutorConfig("ray"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "does not answer (Connection refused)"),
        (b"", "does not answer (timed out)"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "something else than Ray answers there"),
    ],
    ids=["closed", "silent", "another"],
)
def test_an_address_that_does_not_answer(said: bytes | None, message: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    began = time.monotonic()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if said is not None:
            server.listen()
            threading.Thread(target=_answer, args=(server, said), daemon=True).start()
        settings = ExecutorConfig("ray", address=f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ExecutorError) as raised:
            open_executor(settings)
    assert "executor.address=127.0.0.1:" in str(raised.value)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert time.monotonic() - began < 20


def _answer(server: socket.socket, said: bytes) -> None:
    connection, _ = server.accept()
    connection.sendall(said)
    connection.recv(100)
    time.sleep(10)  # with a reader that waits for more
