"""Whether the processes of a run do the same and see the same files, and whether they were as many before."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hwnas.errors import CheckpointError, ConfigError
from hwnas.files import write_text
from hwnas.training.checkpoint import describe_difference
from hwnas.training.processes import Processes
from hwnas.training.state import SavedState

__all__ = ["change_of_processes", "check_together"]


def check_together(processes: Processes, folder: Path, identity: Mapping[str, Any]) -> None:
    """Raises in the process that differs from the first: ConfigError where its run's `identity` is another,
    CheckpointError where its `folder` is not the first one's. All must call it.

    Each reads the checkpoints, and after a restart any may be the first.
    """
    if processes.count == 1:
        return
    here = f"process {processes.rank} of {processes.count}, on {socket.gethostname()}"
    if difference := describe_difference(processes.agree(identity), identity, "run"):
        raise ConfigError(
            f"{here}, has other settings or data than the first: {difference}; start the same command with the same"
            " data on all machines"
        )
    # A name never asked for before: network file systems remember for a while that a file isn't there.
    mark = folder / processes.agree(f".shared-{secrets.token_hex(8)}")
    try:
        if processes.is_first:
            write_text(mark, "")
        processes.wait()
        if not mark.exists():
            raise CheckpointError(
                f"{here}, does not see what the first one writes to {folder}: all machines of a run need one shared"
                " folder; give hydra.run.dir=PATH on a file system that they share"
            )
        processes.wait()
    finally:
        if processes.is_first:
            mark.unlink(missing_ok=True)


def change_of_processes(saved: SavedState, count: int, batch_size: int) -> str:
    """One line where `count` processes go on with what another number `saved`."""
    now, before = ("1 process" if number == 1 else f"{number} processes" for number in (count, saved.processes))
    return (
        f"training: {now} from step {saved.step} on, {before} before: a batch stays {batch_size} images,"
        f" {batch_size // count} a process, and learning rates stay; BatchNorm sees other parts of a batch, so weights"
        " are not bit for bit those of one number throughout"
    )
