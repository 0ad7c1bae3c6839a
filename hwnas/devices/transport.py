"""What a transport does: run the measuring agent on a device, and bring back what it says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Transport", "place"]


def place(device: str, way: str) -> str:
    """How errors name a device: `raspberry_pi_5 (ssh pi@10.0.0.7)`; the way alone where the device has no name."""
    return f"{device} ({way})" if device else way


class Transport(ABC):
    """The way to one device."""

    @abstractmethod
    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Brings files to the device, by name; returns the path of each there.

        What is there already stays, and what was staged before and is not among `files` may be removed. Raises
        DeviceError where the device can't be reached, and StorageError where it is full.
        """

    @abstractmethod
    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        """Runs the stand-alone Python file `script` with `job` as its JSON argument file; yields its output lines.

        Closing the iterator, or an exception in its consumer, ends the process on the device. Raises DeviceError,
        with the last words of the process, where it fails, is killed, or is silent for too long.
        """

    @abstractmethod
    def close(self) -> None:
        """Ends the connection. Staged files may be removed."""
