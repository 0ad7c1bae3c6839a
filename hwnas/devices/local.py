"""The transport to the machine that hwnas runs on: a subprocess."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from hwnas.devices.process import LocalProcess, read_lines
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError

__all__ = ["LocalTransport"]


class LocalTransport(Transport):
    """Runs the agent in a process group of its own, and leaves files where they are.

    `python`: the interpreter; None is the one that hwnas runs in. `where` names the device in errors.
    """

    def __init__(self, python: str | None, silence_s: float, where: str = "local") -> None:
        self._python = python or sys.executable
        self._silence_s = silence_s
        self._where = where

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        return {name: str(path.resolve()) for name, path in files.items()}

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
            job_file = Path(folder) / "job.json"
            job_file.write_text(json.dumps(job))
            try:
                process = LocalProcess([self._python, str(script), str(job_file)])
            except OSError as error:
                raise DeviceError(
                    f"{self._where}: cannot start {self._python}: {error.strerror}; set device.python"
                ) from error
            with closing(read_lines(process, self._where, self._silence_s)) as lines:
                yield from lines

    def close(self) -> None:
        """Nothing to end: each run ends its own process."""
