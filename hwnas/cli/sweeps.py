"""Where the runs of a sweep (`-m`) write, and where a step looks for what the steps before it wrote.

A run of a sweep has a folder named by what is swept: `runs/<name>/multirun/<key>=<value>,…/<step>`. A later step is of
the same sweep where it sweeps the same values, or more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from hwnas.cli.compose import swept_keys

__all__ = ["step_folder", "sweep_settings"]

MULTIRUN = "multirun"
_RESOLVER = "hwnas_swept"
_SEPARATOR = ","


def sweep_settings(overrides: Sequence[str], given: Collection[str], root: str, own: str) -> list[str]:
    """Hydra's settings for a sweep over `overrides`: `root` is the folder of a run, `own` the command's below it."""
    # Hydra's own name for a run holds all that is overridden, which the next step's may not be; ours what is swept. The
    # name of the run is a folder already.
    names = [f"hydra.sweep.dir={root}"] if "hydra.sweep.dir" not in given else []
    if "hydra.sweep.subdir" not in given:
        swept = set(swept_keys(overrides)) - {"name"}
        fixed = sorted({override.partition("=")[0].lstrip("+") for override in overrides} - swept)
        OmegaConf.register_new_resolver(_RESOLVER, _folder, replace=True)
        names.append(f"hydra.job.config.override_dirname.exclude_keys=[{_SEPARATOR.join(fixed)}]")
        names.append(f"hydra.sweep.subdir='${{{_RESOLVER}:${{hydra.job.override_dirname}}}}{own}'")
    return names


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


def _folder(swept: str) -> str:
    plain = re.sub(r"[^\w.,=+-]+", "-", swept)
    return f"{MULTIRUN}/{plain}" if plain else "."


def _values(folder: Path) -> frozenset[str]:
    return frozenset(folder.name.split(_SEPARATOR))
