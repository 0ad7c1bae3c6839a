"""A process on a device, whatever reaches it, and the lines that it says."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Any

from hwnas.errors import ConnectionLostError, DeviceError

__all__ = ["CUT_OFF", "LocalProcess", "Process", "connection_lost", "read_lines"]

CUT_OFF = -1
"""The status of a process whose connection broke off before it told one."""

_WAIT_S = 5.0
_LAST_WORDS = 2000


class Process(ABC):
    """A process that was started, on this machine or on another."""

    @abstractmethod
    def read(self, timeout_s: float) -> bytes | None:
        """Output that has come: empty at its end, None where none came in time."""

    @abstractmethod
    def finish(self) -> tuple[int, str]:
        """After the end of output: the exit status as a shell tells it (128 + n for signal n), and the last words."""

    @abstractmethod
    def end(self) -> None:
        """Ends the process, if it still runs."""


def read_lines(process: Process, where: str, silence_s: float) -> Generator[str, None, None]:
    """The lines of `process`, as they come; it is ended when the generator is closed.

    Raises DeviceError, naming `where` and the last words, after `silence_s` without output and for a status but 0.
    """
    try:
        pending = b""
        last = time.monotonic()
        while True:
            content = process.read(max(0.0, last + silence_s - time.monotonic()))
            if content is None:
                raise DeviceError(
                    f"{where}: the measuring process said nothing for {silence_s:g} s and was ended;"
                    " raise device.silence_s for very slow models"
                )
            if not content:
                break
            last = time.monotonic()
            *lines, pending = (pending + content).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace").rstrip("\r")
        status, words = process.finish()
        if status == 0:
            if pending:
                yield pending.decode(errors="replace")
            return
        if status == CUT_OFF:
            raise connection_lost(where, words)
        raise DeviceError(f"{where}: {_how(status)}{_quoted(words)}")
    finally:
        process.end()


def connection_lost(where: str, reason: object = "") -> ConnectionLostError:
    """What is raised when a device goes away."""
    return ConnectionLostError(
        f"{where}: the connection broke off{_quoted(str(reason))}: reconnect it and run the same command again, which"
        " goes on from there"
    )


def _how(status: int) -> str:
    if status > 128:
        with contextlib.suppress(ValueError):
            return f"the measuring process was killed by {signal.Signals(status - 128).name}"
    return f"the measuring process failed with status {status}"


def _quoted(words: str) -> str:
    lines = words.strip().splitlines()
    return f" ({lines[-1].strip()[:300]})" if lines else ""


class LocalProcess(Process):
    """A subprocess in a group of its own, so that Ctrl-C reaches hwnas alone, which then ends the group.

    With `hold_input` its standard input stays open until its end: what a watcher at the other end waits for.
    """

    def __init__(self, command: Sequence[str], *, hold_input: bool = False) -> None:
        self._noise: Any = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if hold_input else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._noise,
                start_new_session=True,
            )
        except OSError:
            self._noise.close()
            raise
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)

    @property
    def _output(self) -> Any:
        return self._process.stdout

    def read(self, timeout_s: float) -> bytes | None:
        if not self._selector.select(timeout_s):
            return None
        return os.read(self._output.fileno(), 1 << 16)

    def finish(self) -> tuple[int, str]:
        status = self._process.wait()
        self._noise.seek(0, os.SEEK_END)
        self._noise.seek(max(0, self._noise.tell() - _LAST_WORDS))
        words = self._noise.read().decode(errors="replace")
        return (128 - status if status < 0 else status), words

    def end(self) -> None:
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self._process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_WAIT_S)
                    break
        self._noise.close()
