"""Emulated boards: processes of a foreign processor and an sshd of their own on a port of loopback.

What runs there is right or wrong as on a real board. How long it takes means nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from hwnas.devices.config import DeviceConfig
from tests.boards.root import board_root
from tests.devices.servers import Sshd, end, free_port, make_key, remember_host, wait_for

__all__ = ["HWNAS", "PROFILE", "Board", "running_board"]

HWNAS = "/opt/hwnas"
"""Where a board has this checkout, to read."""

PROFILE = """
name: emulated
description: a board that QEMU emulates
transport: ssh
runtimes:
  onnxruntime: [fp32, int8]
  litert: [fp32, int8]
  tvm: [fp32]
tvm_target: aarch64-linux-gnu cortex-a76
"""

# In namespaces of its own: the mounts go with the last process, and all processes with the first. Nothing tells of the
# processor that emulates: there is no /sys, and /proc/cpuinfo is a Cortex-A76's.
_START = """
mount -t overlay board -o lowerdir="$1",upperdir="$2/written",workdir="$2/overlay" "$2/root"
mount -t proc proc "$2/root/proc"
mount --bind "$2/cpuinfo" "$2/root/proc/cpuinfo"
mount --bind "$3" "$2/root$4"
mount -o remount,ro,bind "$2/root$4"
exec chroot "$2/root" /usr/sbin/sshd -D -e
"""
_CPU = "QEMU_CPU=cortex-a76"
_CPUINFO = """processor\t: {}
BogoMIPS\t: 108.00
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""


@dataclass
class Board(Sshd):
    """`folder` has the keys and the log; what is written on the board is below `home`, for reading."""

    profile: Path

    def config(self, **changes: object) -> DeviceConfig:
        mine = {"name": str(self.profile), "address": f"root@127.0.0.1:{self.port}", "folder": "/root/hwnas"}
        return super().config(**{**mine, "transport": None, "python": None, "silence_s": 300.0, **changes})

    @property
    def arguments(self) -> list[str]:
        """The settings of `hwnas` that reach it."""
        config = self.config()
        names = ("name", "address", "folder", "key_file", "known_hosts")
        return [f"device.{name}={getattr(config, name)}" for name in names]

    def say(self, command: str) -> str:
        """What a shell command there says, where it succeeds."""
        ssh = ["ssh", "-p", str(self.port), *self._options, "root@127.0.0.1", command]
        done = subprocess.run(ssh, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def copy(self, source: Path, target: str) -> None:
        """Copies a file or folder there."""
        scp = ["scp", "-qr", "-P", str(self.port), *self._options, str(source), f"root@127.0.0.1:{target}"]
        subprocess.run(scp, check=True)

    def cut(self) -> None:
        (server,) = psutil.Process(self.process.pid).children()
        for serving in server.children():
            serving.kill()

    @property
    def _options(self) -> list[str]:
        return ["-i", str(self.folder / "user"), "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}"]


@contextmanager
def running_board(folder: Path) -> Iterator[Board]:
    """A board of its own, whose files are in `folder`; it is a Cortex-A76, without anything that is measured there."""
    root, port = board_root(), free_port()
    written = folder / "written"
    for name in ("overlay", "root", "written/etc/ssh", "written/run/sshd", f"written{HWNAS}"):
        (folder / name).mkdir(parents=True)
    for name in ("host", "user"):
        make_key(folder / name)
    remember_host(folder, port)
    shutil.copy(folder / "host", written / "etc/ssh/host")
    shutil.copy(folder / "user.pub", written / "etc/ssh/authorized_keys")
    (written / "etc/ssh/sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey /etc/ssh/host\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        "AuthorizedKeysFile /etc/ssh/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"Subsystem sftp internal-sftp\nSetEnv {_CPU}\n"
    )
    cpus = "".join(map(_CPUINFO.format, range(os.cpu_count() or 1)))
    (folder / "cpuinfo").write_text(f"{cpus}Model\t\t: emulated Cortex-A76\n")
    profile = folder / "emulated.yaml"
    profile.write_text(PROFILE)
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    project = Path(__file__).parents[2]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*namespaces, "sh", "-euc", _START, "board", str(root), str(folder), str(project), HWNAS],
            stdout=log, stderr=log, env={**os.environ, **dict([_CPU.split("=")])},
        )  # fmt: skip
    try:
        wait_for(port, process)
        yield Board(process, port, folder, written / "root", profile)
    finally:
        end(process)
