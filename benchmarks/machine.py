"""What stands beside every figure: the date, the kind of machine, how busy it was, and versions."""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["about", "described"]


def about(*packages: str) -> dict[str, Any]:
    """Date, processor, cores, threads, load average, Python, and the versions of hwnas and `packages`."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("hwnas", *packages)},
    }


def described(found: dict[str, Any]) -> str:
    """`about` as a line of text."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items() if number)
    return (
        f"{found['date']}; {found['processor']}, {found['cores']} cores shared with others, OMP_NUM_THREADS"
        f" {found['threads']}, load average {found['load_average']}; Python {found['python']}, {versions}."
    )


def _processor() -> str:
    """The processor's name where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
