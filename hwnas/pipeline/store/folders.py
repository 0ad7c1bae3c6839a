"""Where the steps of a run write, and where a step looks for what the steps before it wrote.

A run of a sweep has a folder named by what is swept: `runs/<name>/multirun/<key>=<value>,…/<step>`. A later step is of
the same sweep where it sweeps the same values, or more.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["MULTIRUN", "SEPARATOR", "step_folder"]

MULTIRUN = "multirun"
SEPARATOR = ","


def step_folder(folder: Path, step: str) -> Path:
    """Where `step` wrote what a step in `folder` reads: beside it, or, for a sweep that sweeps more, in the most alike
    folder of the sweep, or else where a single run wrote. Beside it where there is none.
    """
    beside = folder.parent / step
    sweep = folder.parent.parent
    if beside.exists() or sweep.name != MULTIRUN:
        return beside
    mine = _values(folder.parent)
    others = [other for other in sweep.iterdir() if (other / step).is_dir() and _values(other) < mine]
    candidates = [other / step for other in sorted(others, key=lambda other: (-len(_values(other)), other.name))]
    return next((path for path in (*candidates, sweep.parent / step) if path.exists()), beside)


def _values(folder: Path) -> frozenset[str]:
    return frozenset(folder.name.split(SEPARATOR))
