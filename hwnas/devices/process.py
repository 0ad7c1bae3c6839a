"""A process on a device, whatever reaches it, and the lines that it says."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from hwnas.errors import ConnectionLostError, DeviceError

__all__ = ["CUT_OFF", "LocalProcess", "Process", "ProcessError", "Step", "connection_lost", "how_ended", "read_lines"]

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


class ProcessError(DeviceError):
    """A process ended as it should not, within `step`. `status`: None where it was ended for its silence."""

    def __init__(self, message: str, status: int | None, step: Step) -> None:
        super().__init__(message)
        self.step = step
        self.status = status

    @property
    def crashed(self) -> bool:
        """Whether it died of its own code, rather than by somebody's hand or for want of memory."""
        return self.status is not None and self.status - 128 in _CRASHES


_CRASHES = (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP)


@dataclass(frozen=True)
class Step:
    """What a process announced that it is about to do; "" for nothing that could be told.

    For an import: how to see it alone, and the distribution that installs it anew. Else the `model`, if it is of one.
    """

    doing: str = ""
    alone: str = ""
    install: str = ""
    model: str = ""

    def __str__(self) -> str:
        return f" while {self.doing}" if self.doing else ""

    def remedy(self, status: int | None) -> str:
        """The end of an error: what to do next, where it is known. `status`: None for silence."""
        number = 0 if status is None else status - 128
        if number == signal.SIGILL:
            return f": built for another processor than the one there: {self._install('a build for it')}"
        if number == signal.SIGKILL:
            remedy = ": most likely for want of memory: free some there, or "
            return remedy + (f"see it alone with {self.alone} there" if self.alone else "lower profiling.chunk_models")
        if self.install:
            return f": see it alone with {self.alone} there, then {self._install('another version')}"
        if number in _CRASHES and self.doing:
            return ": try another version of the runtime there, or another runtime"
        return ": raise device.silence_s for very slow models" if status is None else ""

    def _install(self, what: str) -> str:
        return f"install {what} (pip install --force-reinstall {self.install})" if self.install else f"install {what}"


_STEP = b'{"event": "step", '


def _step_in(line: bytes) -> tuple[Step | None, bytes]:
    """The step that a line announces, if it does, and what a runtime printed before it without an end of line."""
    start = line.find(_STEP)
    if start >= 0:
        with contextlib.suppress(ValueError, TypeError):
            values = json.loads(line[start:])
            del values["event"]
            return Step(**values), line[:start]
    return None, line


def read_lines(process: Process, where: str, silence_s: float) -> Generator[str, None, None]:
    """The lines of `process`, as they come, but the steps that it announces; it is ended when the generator is closed.

    Raises DeviceError, naming `where`, the last step and the last words, after `silence_s` without output; for a status
    but 0; and for an end within a step.
    """
    try:
        pending = b""
        step = Step()
        last = time.monotonic()
        while True:
            content = process.read(max(0.0, last + silence_s - time.monotonic()))
            if content is None:
                said = f"{where}: the measuring process said nothing for {silence_s:g} s{step} and was ended"
                raise ProcessError(said + step.remedy(None), None, step)
            if not content:
                break
            last = time.monotonic()
            *lines, pending = (pending + content).split(b"\n")
            for line in lines:
                announced, rest = _step_in(line)
                step = announced or step
                if rest or not announced:
                    yield rest.decode(errors="replace").rstrip("\r")
        status, words = process.finish()
        if status == 0 and not step.doing:
            if pending:
                yield pending.decode(errors="replace")
            return
        if status == CUT_OFF:
            raise connection_lost(where, words)
        how = how_ended(status, "the measuring process")
        raise ProcessError(f"{where}: {how}{step}{_quoted(words)}{step.remedy(status)}", status, step)
    finally:
        process.end()


def connection_lost(where: str, reason: object = "") -> ConnectionLostError:
    """What is raised when a device goes away."""
    return ConnectionLostError(
        f"{where}: the connection broke off{_quoted(str(reason))}: reconnect it and run the same command again, which"
        " goes on from there"
    )


def how_ended(status: int, what: str) -> str:
    """What a status says, as a shell tells it (128 + n for signal n), of the process that is called `what`."""
    if status > 128:
        with contextlib.suppress(ValueError):
            return f"{what} was killed by {signal.Signals(status - 128).name}"
    return f"{what} failed with status {status}" if status else f"{what} ended too early"


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
