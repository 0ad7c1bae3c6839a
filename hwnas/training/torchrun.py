"""Whether torchrun started this process, and how many. Imports no torch."""

from __future__ import annotations

import os

from hwnas.errors import ConfigError

__all__ = ["check_alone", "is_first_process", "process_counts"]


def process_counts() -> tuple[int, int]:
    """The number of processes on this machine and altogether: 1 and 1 where torchrun didn't start them."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1, 1
    return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])


def is_first_process() -> bool:
    """Whether this is the one process, or the first of torchrun's, which writes for all of them."""
    return "TORCHELASTIC_RUN_ID" not in os.environ or os.environ["RANK"] == "0"


def check_alone(work: str) -> None:
    """Raise ConfigError where torchrun started several processes, and `work` is for one."""
    if (count := process_counts()[1]) > 1:
        raise ConfigError(
            f"torchrun is for hwnas train alone, one training at a time, and started {count} processes for {work}:"
            " start that without torchrun"
        )
