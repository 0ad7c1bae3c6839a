"""Real servers on loopback for the transports' tests: OpenSSH's sshd, TVM's RPC tracker and server, adb's server.

The phone behind adb is a stand-in, see adbd_standin.py.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from hwnas.devices.config import DeviceConfig

__all__ = ["Sshd", "adb_phone", "free_port", "lacking", "rpc_server", "small_disk", "sshd"]


def lacking(transport: str) -> str | None:
    """What this machine lacks for the tests of a transport, or None."""
    programs = {"ssh": ("/usr/sbin/sshd", "openssh-server"), "adb": ("adb", "adb")}
    if transport in programs:
        program, package = programs[transport]
        return None if shutil.which(program) else f"no {program} here: apt-get install {package}"
    return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[bytes], limit_s: float = 120.0) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens at port {port}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and what it started: TVM's leave workers behind. Their ports are free when it returns."""
    children = kill_children(process, recursive=True)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while any(map(_lives, children)) and time.monotonic() < deadline:
        time.sleep(0.01)  # a killed process listens until it is taken down, which takes a while on a busy machine


def kill_children(process: subprocess.Popen[bytes], recursive: bool = False) -> list[psutil.Process]:
    children: list[psutil.Process] = psutil.Process(process.pid).children(recursive=recursive)
    for child in children:
        with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
            child.kill()
    return children


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


# ---- ssh ------------------------------------------------------------------------------------------------------------


@dataclass
class Sshd:
    """A running sshd, and how to reach it: `config` is for the connecting side."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    home: Path

    def config(self, **changes: object) -> DeviceConfig:
        values: dict[str, object] = {
            "name": "local",
            "transport": "ssh",
            "address": f"{getpass.getuser()}@127.0.0.1:{self.port}",
            "folder": str(self.home / "hwnas"),
            "python": sys.executable,
            "key_file": str(self.folder / "user"),
            "known_hosts": str(self.folder / "known_hosts"),
            "silence_s": 60.0,
        }
        return DeviceConfig(**{**values, **changes})  # type: ignore[arg-type]

    def cut(self) -> None:
        """Cuts every connection, as a pulled cable does, by ending the processes that serve them."""
        kill_children(self.process)


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """sshd with throw-away keys on a port of loopback; only keys are taken."""
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    for name in ("host", "user"):
        make_key(folder / name)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port, home = free_port(), folder / "home"
    home.mkdir()
    remember_host(folder, port)
    Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile {folder}/pid\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nUsePAM no\nPermitRootLogin yes\n"
        "KbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    process = subprocess.Popen(command, stderr=(folder / "log").open("wb"))
    try:
        wait_for(port, process)
        yield Sshd(process, port, folder, home)
    finally:
        end(process)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """While `folder` is a disk of `size`, such as 200k; a skip where that may not be made."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs: run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_key(path: Path) -> None:
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def remember_host(folder: Path, port: int) -> None:
    kind, key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")


# ---- TVM RPC --------------------------------------------------------------------------------------------------------


@contextmanager
def rpc_server(tracked: bool = True, servers: int = 1) -> Iterator[str]:
    """TVM's own server; its address, or that of its own tracker and what its `servers` are called there."""
    ports = [free_port() for _ in range(servers)]
    tracker = free_port()
    own = ["--tracker", f"127.0.0.1:{tracker}", "--key", "board"] if tracked else []
    running: list[subprocess.Popen[bytes]] = []
    board = tempfile.TemporaryDirectory(prefix="hwnas-board-")
    # No torch, as on a board: where it is installed, TVM imports it, which takes seconds.
    Path(board.name, "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    paths = [board.name, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    try:
        for module, port, more in (
            *([("rpc_tracker", tracker, [])] if tracked else []),
            *(("rpc_server", port, own) for port in ports),
        ):
            command = [sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", "--port", str(port)]
            command += ["--port-end", str(port + 1), *more]
            nowhere = subprocess.DEVNULL
            running.append(subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env=environment))
            wait_for(port, running[-1])
        yield f"127.0.0.1:{tracker}/board" if tracked else f"127.0.0.1:{ports[0]}"
    finally:
        for process in reversed(running):
            end(process)
        board.cleanup()


# ---- adb ------------------------------------------------------------------------------------------------------------


@contextmanager
def adb_phone(folder: Path, serials: int = 1) -> Iterator[list[str]]:
    """The real adb client and server, connected to stand-ins for phones; their serials.

    adb's server listens on a port of its own, so that one that runs already is not touched.
    """
    from tests.devices.adbd_standin import serve

    former = {key: os.environ.get(key) for key in ("ANDROID_ADB_SERVER_PORT", "HOME")}
    os.environ["ANDROID_ADB_SERVER_PORT"] = str(free_port())
    os.environ["HOME"] = str(folder)  # adb writes its key there
    folder.mkdir(parents=True, exist_ok=True)
    phones = [serve(folder / f"phone{number}") for number in range(serials)]
    try:
        for phone in phones:
            subprocess.run(["adb", "connect", phone.serial], check=True, capture_output=True, timeout=60)
        yield [phone.serial for phone in phones]
    finally:
        subprocess.run(["adb", "kill-server"], check=False, capture_output=True, timeout=60)
        for phone in phones:
            phone.close()
        for key, value in former.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
