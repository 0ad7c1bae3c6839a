"""How much memory is left: as Linux says it of the machine, and of control groups of both versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hwnas import memory
from hwnas.cli.main import main

MIB = 2**20


def machine(root: Path, available_mib: int, swap_mib: int = 0, groups: str = "") -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal:       99999999 kB\nMemAvailable:   {available_mib * 1024} kB\nSwapFree: {swap_mib * 1024} kB\n"
        "HugePages_Total:       0\n"
    )
    (root / "proc/self/cgroup").write_text(groups)
    return root


def group(folder: Path, names: tuple[str, str, str], limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in ((names[0], limit), (names[1], str(used)), ("memory.stat", f"anon 1\n{names[2]} {cache}")):
        (folder / name).write_text(f"{value}\n")


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def test_the_machine_with_its_swap(tmp_path: Path) -> None:
    assert memory.available_mib(machine(tmp_path, 1500, swap_mib=500)) == 2000


def test_a_group_of_version_2_and_those_above_it(tmp_path: Path) -> None:
    root = machine(tmp_path, 8000, groups="0::/user/session\n")
    group(root / "sys/fs/cgroup/user/session", V2, "max", 100 * MIB, 0)
    group(root / "sys/fs/cgroup/user", V2, str(2048 * MIB), 300 * MIB, 50 * MIB)
    assert memory.available_mib(root) == 2048 - 300 + 50


def test_a_container_whose_group_is_the_mount(tmp_path: Path) -> None:
    root = machine(tmp_path, 8000, groups="12:cpu,cpuacct:/docker/abc\n5:memory:/docker/abc\n")
    group(root / "sys/fs/cgroup/memory", V1, str(512 * MIB), 12 * MIB, 0)
    assert memory.available_mib(root) == 500


def test_no_limit_and_no_linux(tmp_path: Path) -> None:
    root = machine(tmp_path / "unlimited", 8000, groups="5:memory:/\n")
    group(root / "sys/fs/cgroup/memory", V1, "9223372036854771712", 12 * MIB, 0)
    assert memory.available_mib(root) == 8000
    assert memory.available_mib(tmp_path / "elsewhere") is None
    memory.check_memory(tmp_path / "elsewhere")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it so")
def test_this_machine() -> None:
    assert (memory.available_mib() or 0) > 100


def test_too_little_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "LEAST_MIB", 10**9)
    assert main(["run", "experiment=smoke", f"hydra.run.dir={tmp_path / 'run'}"]) == 1
    out, err = capsys.readouterr()
    assert "train:" not in out
    assert "memory: expected 1000000000 MiB or more to be available, got " in err
    assert len([line for line in err.splitlines() if "memory" in line]) == 1
