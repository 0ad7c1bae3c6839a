"""What can go wrong on a board over SSH: each says what to do, and nothing measured is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.devices.ssh import SshTransport, parse_address
from hwnas.devices.transport import Transport
from hwnas.errors import ConfigError, ConnectionLostError, DeviceError, StorageError
from tests.devices.servers import Sshd, free_port, lacking, make_key, small_disk, sshd

pytestmark = pytest.mark.skipif(lacking("ssh") is not None, reason=str(lacking("ssh")))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as running:
        yield running


def connected(config: DeviceConfig) -> Transport:
    with connect(load_profile("local"), config) as transport:
        return transport


def script(folder: Path, body: str) -> Path:
    path = folder / "agent.py"
    path.write_text(body)
    return path


def test_a_changed_host_key_is_refused(server: Sshd) -> None:
    make_key(server.folder / "other")
    kind, key = (server.folder / "other.pub").read_text().split()[:2]
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    with pytest.raises(DeviceError, match=r"host key is another than known_hosts says.*ssh-keygen -R"):
        connected(server.config())


def test_an_unknown_host_key_is_refused_with_its_fingerprint(server: Sshd) -> None:
    (server.folder / "known_hosts").write_text("")
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host.pub")], capture_output=True, text=True, check=True
    ).stdout
    with pytest.raises(DeviceError, match="not known") as caught:
        connected(server.config())
    assert said.split()[1] in str(caught.value)


def test_a_key_that_the_board_does_not_take_is_refused(server: Sshd) -> None:
    make_key(server.folder / "stranger")
    with pytest.raises(DeviceError, match="takes none of the keys"):
        connected(server.config(key_file=str(server.folder / "stranger")))


def test_nobody_at_the_address(server: Sshd) -> None:
    with pytest.raises(DeviceError, match="does not answer"):
        connected(server.config(address=f"127.0.0.1:{free_port()}"))
    with pytest.raises(DeviceError, match=r"no address: give device\.address"):
        connected(server.config(address=None))


def test_an_agent_that_was_tampered_with_is_not_run(server: Sshd, tmp_path: Path) -> None:
    agent = script(tmp_path, "print('mine')")
    with connect(load_profile("local"), server.config()) as transport:
        assert list(transport.run(agent, {})) == ["mine"]
        (there,) = (server.home / "hwnas").glob("agent-*.py")
        there.write_text("print('theirs')")
        with pytest.raises(DeviceError, match="is not the file that hwnas copied"):
            list(transport.run(agent, {}))


def test_a_cut_connection_is_said_and_ends_the_process_there(server: Sshd, tmp_path: Path) -> None:
    agent = script(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)")
    with connect(load_profile("local"), server.config()) as transport:
        lines = transport.run(agent, {})
        pid = int(next(lines))
        server.cut()
        with closing(lines), pytest.raises(ConnectionLostError, match="run the same command again"):
            next(lines)
        with pytest.raises(ConnectionLostError):
            transport.stage({"agent": agent})
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_full_disk_there_is_said_with_what_is_free(server: Sshd, tmp_path: Path) -> None:
    there = server.home / "small"
    (tmp_path / "model.bin").write_bytes(os.urandom(400_000))
    with small_disk(there, "200k"):
        with (
            connect(load_profile("local"), server.config(folder=str(there))) as transport,
            pytest.raises(StorageError, match=r"is full there .*391 KiB needed.*device\.folder"),
        ):
            transport.stage({"model": tmp_path / "model.bin"})
        assert list((there / "models").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(server: Sshd, tmp_path: Path) -> None:
    (server.home / "file").write_text("")
    with (
        connect(load_profile("local"), server.config(folder=str(server.home / "file" / "x"))) as transport,
        pytest.raises(DeviceError, match="Not a directory"),
    ):
        transport.stage({"model": script(tmp_path, "")})


def test_python_that_is_not_there_is_named(server: Sshd, tmp_path: Path) -> None:
    with (
        connect(load_profile("local"), server.config(python="python9")) as transport,
        pytest.raises(DeviceError, match=r"cannot start python9 there.*device\.python"),
    ):
        list(transport.run(script(tmp_path, ""), {}))


def test_staging_keeps_what_is_whole_and_removes_the_rest(server: Sshd, tmp_path: Path) -> None:
    first, second = tmp_path / "first.bin", tmp_path / "second.bin"
    first.write_bytes(b"1" * 1000)
    second.write_bytes(b"2" * 1000)
    with connect(load_profile("local"), server.config()) as transport:
        assert isinstance(transport, SshTransport)
        kept = Path(transport.stage({"first": first})["first"])
        before = kept.stat().st_mtime_ns
        shutil.copy(kept, kept.with_name("torn.part"))
        both = transport.stage({"first": first, "second": second})
        assert kept.stat().st_mtime_ns == before
        assert sorted(path.name for path in kept.parent.iterdir()) == sorted(Path(path).name for path in both.values())
        kept.write_bytes(b"1")  # torn
        transport.stage({"first": first})
        assert [path.read_bytes() for path in kept.parent.iterdir()] == [b"1" * 1000]


def test_a_home_relative_folder_is_found(server: Sshd) -> None:
    with connect(load_profile("local"), server.config(folder="~/x")) as transport:
        assert isinstance(transport, SshTransport)
        assert str(transport.folder) == str(Path.home() / "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("board", (None, "board", None)),
        ("pi@10.0.0.7:2222", ("pi", "10.0.0.7", 2222)),
        ("pi@[fe80::1]:22", ("pi", "fe80::1", 22)),
        ("fe80::1", (None, "fe80::1", None)),
    ],
)
def test_addresses(text: str, expected: tuple[str | None, str, int | None]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "pi@", "board:port", "board:70000"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"user@.*host"):
        parse_address(text)
