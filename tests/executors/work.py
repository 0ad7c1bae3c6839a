"""What workers do in the tests of executors: functions that other processes can import."""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from hwnas.errors import DataError, MissingExtraError

__all__ = [
    "Counted", "Straggler", "begin", "begins_badly", "crashes", "dies_once", "fails_at_three", "from_here", "slow",
    "squared", "threads", "unknown", "where",
]  # fmt: skip

_begun: list[int] = []


def begin() -> None:
    import torch

    _begun.append(1)
    torch.set_num_threads(1)


def begins_badly() -> None:
    raise MissingExtraError("ray", "ray", "executor=ray")


def squared(number: int) -> int:
    logging.getLogger("hwnas.executors").warning("squared %d", number)
    time.sleep(0.001 * (number % 3))
    return number * number


def where(number: int) -> tuple[int, int]:
    """The process, and how often it was prepared."""
    time.sleep(0.05)
    return os.getpid(), len(_begun)


def threads(number: int) -> int:
    import torch

    return torch.get_num_threads()


def fails_at_three(number: int) -> int:
    if number == 3:
        raise DataError("image 3 is broken")
    return number


def unknown(number: int) -> int:
    raise ZeroDivisionError(f"of {number}")


def crashes(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def dies_once(folder: str) -> int:
    """The worker is killed the first time that any is at this folder."""
    mark = Path(folder, "died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def slow(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(600)


def from_here(name: str) -> tuple[str, str | None]:
    """The folder that paths are relative to, and a variable."""
    return str(Path.cwd()), os.environ.get(name)


class Counted:
    """Each copy counts what it is called for."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, number: int) -> int:
        time.sleep(0.001 * number)
        self.calls += 1
        return self.calls


class Straggler:
    """The first process that comes is ten times as slow as the others."""

    def __init__(self, folder: Path) -> None:
        self._claim, self._owner = folder / "slow", 0

    def __call__(self, number: int) -> int:  # noqa: ARG002
        if not self._owner:
            with suppress(FileExistsError):
                self._claim.symlink_to(str(os.getpid()))
            self._owner = int(self._claim.readlink().name)
        time.sleep(0.2 if self._owner == os.getpid() else 0.02)
        return os.getpid()
