"""Whether torchrun started this process, and how many. Imports no torch."""

from __future__ import annotations

import os

__all__ = ["process_counts"]


def process_counts() -> tuple[int, int]:
    """The number of processes on this machine and altogether: 1 and 1 where torchrun didn't start them."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return 1, 1
    return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
