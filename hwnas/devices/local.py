"""The transport to the machine that hwnas runs on: a subprocess."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError

__all__ = ["LocalTransport"]

_WAIT_S = 5.0


class LocalTransport(Transport):
    """Runs the agent in a process group of its own, and leaves files where they are."""

    def __init__(self, python: str | None, silence_s: float) -> None:
        self._python = python or sys.executable
        self._silence_s = silence_s

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        return {name: str(path.resolve()) for name, path in files.items()}

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, Path(folder, "stderr").open("w+b") as noise:
            job_file = Path(folder) / "job.json"
            job_file.write_text(json.dumps(job))
            try:
                process = subprocess.Popen(
                    [self._python, str(script), str(job_file)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=noise,
                    start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the group
                )
            except OSError as error:
                raise DeviceError(f"local: cannot start {self._python}: {error.strerror}; set device.python") from error
            try:
                yield from self._lines(process, noise)
            finally:
                _end(process)

    def close(self) -> None:
        """Nothing to end: each run ends its own process."""

    def _lines(self, process: subprocess.Popen[bytes], noise: Any) -> Generator[str, None, None]:
        pipe = process.stdout
        if pipe is None:
            raise DeviceError("local: the measuring process has no output")
        pending = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            last = time.monotonic()
            while True:
                if not selector.select(max(0.0, last + self._silence_s - time.monotonic())):
                    raise DeviceError(
                        f"local: the measuring process said nothing for {self._silence_s:g} s and was ended"
                        f"{_last_words(noise)}; raise device.silence_s for very slow models"
                    )
                content = os.read(pipe.fileno(), 1 << 16)
                if not content:
                    break
                last = time.monotonic()
                *lines, pending = (pending + content).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
        status = process.wait()
        if status:
            how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            raise DeviceError(f"local: the measuring process {how}{_last_words(noise)}")


def _last_words(noise: Any) -> str:
    noise.flush()
    noise.seek(0, os.SEEK_END)
    noise.seek(max(0, noise.tell() - 2000))
    lines = noise.read().decode(errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:300]})" if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_WAIT_S)
                break
