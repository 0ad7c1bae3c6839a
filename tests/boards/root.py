"""The file system that emulated boards share: Debian for aarch64, with Python and runtimes, run by QEMU's user mode.

Built once, in the user's cache: `python -m tests.boards.root`, which `make test-all` calls. About two minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock
from packaging.requirements import Requirement

from hwnas.data.user_cache import user_cache

__all__ = ["MACHINE", "SITE", "board_root", "lacking_for_boards", "let_qemu_run"]

MACHINE = "aarch64"
SITE = Path("usr/local/lib/python3.11/dist-packages")
"""Where Debian's Python looks for what Debian does not bring."""

_RELEASE = "bookworm"
_PYTHON = "3.11"
_DEBIAN = ("python3", "openssh-server")
_RUNTIMES = ("numpy", "onnxruntime", "ai-edge-litert", "apache-tvm", "pillow")
_GLIBC = ("manylinux2014", *(f"manylinux_2_{minor}" for minor in (17, 24, 26, 27, 28, 31, 34)))
_PROJECT = Path(__file__).parents[2]
_FORMATS = Path("/proc/sys/fs/binfmt_misc")
_FORMAT = Path(f"/usr/lib/binfmt.d/qemu-{MACHINE}.conf")


def lacking_for_boards() -> str | None:
    """What this machine lacks for emulated boards, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "boards are emulated on Linux, by root: they are mounted"
    programs = {"debootstrap": "debootstrap", f"qemu-{MACHINE}-static": "qemu-user-static", "sshd": "openssh-server"}
    path = f"{os.environ['PATH']}:/usr/sbin"
    lacking = [package for program, package in programs.items() if not shutil.which(program, path=path)]
    return f"apt-get install {' '.join(lacking)}" if lacking else None


def board_root() -> Path:
    """The folder, built where it is not there yet; QEMU runs its programs from here on.

    What Debian or pip refuse is an AssertionError with their last words.
    """
    let_qemu_run()
    packages = [*_RUNTIMES, *_needed_by_hwnas()]
    recipe = [_RELEASE, _DEBIAN, packages, _pins()]
    folder = user_cache() / "boards" / hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock"):
        if not folder.is_dir():
            for old in folder.parent.iterdir():  # of another recipe, or half built
                shutil.rmtree(old) if old.is_dir() else None
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
            _build(partial, packages)
            partial.chmod(0o755)
            partial.rename(folder)
    return folder


def let_qemu_run() -> None:
    """Registers QEMU with the kernel as what runs programs of the boards' processor, where nothing does yet.

    It stays so until the machine starts anew. Raises OSError or CalledProcessError where the kernel refuses.
    """
    if platform.machine() == MACHINE:
        return
    if not (_FORMATS / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "none", str(_FORMATS)], check=True)
    if not (_FORMATS / _FORMAT.stem).exists():
        (_FORMATS / "register").write_text(_FORMAT.read_text())


def _build(root: Path, packages: list[str]) -> None:
    debian = ["debootstrap", "--arch=arm64", "--variant=minbase", f"--include={','.join(_DEBIAN)}", _RELEASE, str(root)]
    _run(debian)
    for lists in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / lists)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as wheels:
        constraints = Path(wheels, "constraints.txt")
        constraints.write_text("\n".join(_pins()))
        # Of this one there are sources only, which pip does not take for another machine. It is all Python.
        _run([*pip, "wheel", "-q", "--no-deps", "-c", str(constraints), "-w", wheels, "antlr4-python3-runtime"])
        # From outside: pip under emulation takes minutes.
        platforms = [f"--platform={glibc}_{MACHINE}" for glibc in _GLIBC]
        target = ["--target", str(root / SITE), "--python-version", _PYTHON, "--implementation", "cp", *platforms]
        given = ["--only-binary=:all:", "--find-links", wheels, "-c", str(constraints)]
        _run([*pip, "install", "-q", "--no-compile", *given, *target, *packages])
    code = "import numpy, onnxruntime, ai_edge_litert.interpreter, tvm, platform; print(platform.machine())"
    assert _run(["chroot", str(root), "python3", "-c", code]).splitlines()[-1] == MACHINE


def _needed_by_hwnas() -> list[str]:
    text = (_PROJECT / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    return re.findall(r'"(.+?)"', listed)


def _pins() -> list[str]:
    """What constraints.txt pins for the boards' Python."""
    there = {"python_version": _PYTHON, "python_full_version": f"{_PYTHON}.2", "platform_machine": MACHINE}
    lines = (_PROJECT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    found = [one for one in pinned if one.marker is None or one.marker.evaluate(there)]
    return sorted(f"{one.name}{one.specifier}" for one in found)


def _run(command: list[str]) -> str:
    """What it says; where it fails, its last words too."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}"
    return done.stdout


if __name__ == "__main__":
    print(lacking_for_boards() or board_root())  # noqa: T201 - for whoever builds it by hand
