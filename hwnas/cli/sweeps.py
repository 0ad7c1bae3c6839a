"""Where the runs of a sweep (`-m`) write, and where a step looks for what the steps before it wrote.

A run of a sweep has a folder named by what is swept: `runs/<name>/multirun/<key>=<value>,…/<step>`. A later step is of
the same sweep where it sweeps the same values, or more.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from omegaconf import OmegaConf

from hwnas.cli.compose import swept_keys
from hwnas.pipeline.store.folders import MULTIRUN, SEPARATOR

__all__ = ["sweep_settings"]

_RESOLVER = "hwnas_swept"


def sweep_settings(overrides: Sequence[str], given: Collection[str], root: str, own: str) -> list[str]:
    """Hydra's settings for a sweep over `overrides`: `root` is the folder of a run, `own` the command's below it."""
    # Hydra's own name for a run holds all that is overridden, which the next step's may not be; ours what is swept. The
    # name of the run is a folder already.
    names = [f"hydra.sweep.dir={root}"] if "hydra.sweep.dir" not in given else []
    if "hydra.sweep.subdir" not in given:
        swept = set(swept_keys(overrides)) - {"name"}
        fixed = sorted({override.partition("=")[0].lstrip("+") for override in overrides} - swept)
        names.append(f"hydra.job.config.override_dirname.exclude_keys=[{SEPARATOR.join(fixed)}]")
        names.append(f"hydra.sweep.subdir='${{{_RESOLVER}:${{hydra.job.override_dirname}}}}{own}'")
    return names


def _folder(swept: str) -> str:
    plain = re.sub(r"[^\w.,=+-]+", "-", swept)
    return f"{MULTIRUN}/{plain}" if plain else "."


# When this is imported: the processes that a launcher starts import it with what they run.
OmegaConf.register_new_resolver(_RESOLVER, _folder, replace=True)
