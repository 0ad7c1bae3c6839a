"""How much memory is left to this process, before it is killed for want of it."""

from __future__ import annotations

from pathlib import Path

from hwnas.errors import TrainingError

__all__ = ["available_mib", "check_memory"]

LEAST_MIB = 700
"""What `hwnas run experiment=smoke` took at its peak, child processes and all, in a group limited to 2 GiB: 681 MiB."""


def check_memory(root: Path = Path("/")) -> None:
    """Raise TrainingError where less than `LEAST_MIB` is available: torch and the exporters alone need as much."""
    available = available_mib(root)
    if available is not None and available < LEAST_MIB:
        raise TrainingError(
            f"memory: expected {LEAST_MIB} MiB or more to be available, got {available:.0f} MiB; close other programs,"
            " add swap, or raise the limit of the container"
        )


def available_mib(root: Path = Path("/")) -> float | None:
    """What can be had without others being killed, swap included: of the machine and of the control groups that limit
    this process, and of its own limit (`ulimit -v`), the least. None where the system says
    nothing of it, as outside Linux.
    """
    groups = [_left(*limit) for limit in _limits(root)]
    known = [amount for amount in (_of_machine(root), _of_process(root), *groups) if amount is not None]
    return min(known) / 2**20 if known else None


def _of_machine(root: Path) -> float | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        kib = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}
        return (kib["MemAvailable"] + kib.get("SwapFree", 0)) * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def _of_process(root: Path) -> float | None:
    """What its own limit of address space leaves."""
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int((root / "proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
    return None if most == resource.RLIM_INFINITY else most - used


def _limits(root: Path) -> list[tuple[Path, str, str, str]]:
    """The folder of each group that this process is in, and the names of its limit, its usage and its reclaimable cache
    (version 2 and version 1 of control groups differ). In a container the group's own folder is the mount itself.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = mount / path.strip("/")
        folders = {own, *(parent for parent in own.parents if parent.is_relative_to(mount)), mount}
        found += [(folder, *names) for folder in folders]
    return found


def _left(folder: Path, limit: str, usage: str, cache: str) -> float | None:
    try:
        most, used = int((folder / limit).read_text()), int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return most - used + int(stat.get(cache, 0))
    except (OSError, ValueError):  # no limit is written as `max`, or as no file
        return None
