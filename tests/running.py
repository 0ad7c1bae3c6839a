"""Other processes: `hwnas` as a user starts it, programs of a test's own, and one that holds a lock."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

__all__ = ["Forked", "held_by_another", "run_here", "run_hwnas", "run_program", "start_hwnas"]


def start_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status, by a new interpreter."""
    command = [sys.executable, "-m", "hwnas.cli.main", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def run_hwnas(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`hwnas arguments…`, finished, whatever its exit status: forked where the libraries are imported already."""
    return Forked(None, arguments, cwd).finish()


def run_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process: for what is refused, or does in a process of its own no more than here."""
    from hwnas.cli.main import main

    given = [str(argument) for argument in arguments]
    with redirect_stdout(io.StringIO()) as printed, redirect_stderr(io.StringIO()) as errors:
        status = main(given)
    return subprocess.CompletedProcess(["hwnas", *given], status, printed.getvalue(), errors.getvalue())


def run_program(code: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`python -c code arguments…`, forked likewise: not for what tells which libraries are imported."""
    return Forked(code, arguments, cwd).finish()


class Forked:
    """A process of `hwnas arguments…`, or of a program, forked where the libraries are imported already.

    There is one at a time: the next begins after `finish`, which the end of a `with` sees to. Elsewhere than on Linux
    it is a new interpreter.
    """

    def __init__(self, code: str | None, arguments: Sequence[object], cwd: Path | None = None) -> None:
        given = [str(argument) for argument in arguments]
        self._command = [sys.executable, *(("-m", "hwnas.cli.main") if code is None else ("-c", code)), *given]
        self._folder = tempfile.TemporaryDirectory(prefix="hwnas-said-")
        self._said = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        self._is_finished = False
        self._own: subprocess.Popen[bytes] | None = None
        if sys.platform != "linux":
            with ExitStack() as files:
                said = [files.enter_context(path.open("w")) for path in self._said]
                self._own = subprocess.Popen(self._command, cwd=cwd, stdout=said[0], stderr=said[1])
            self.pid = self._own.pid
            return
        for path in self._said:
            path.touch()
        asked = {
            "code": code, "arguments": given, "cwd": str(cwd or Path.cwd()), "environment": dict(os.environ),
            "stdout": str(self._said[0]), "stderr": str(self._said[1]),
        }  # fmt: skip
        self._importer = _importer()
        assert self._importer.stdin is not None
        self._importer.stdin.write(json.dumps(asked) + "\n")
        self._importer.stdin.flush()
        self.pid = int(self._line())

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._is_finished:
            os.kill(self.pid, signal.SIGKILL)
            self.finish()

    def printed(self) -> str:
        """What it printed until now, errors apart."""
        return self._said[0].read_text()

    def finish(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end: its status, negative for a signal as `subprocess` has it, and what it printed."""
        self._is_finished = True
        with self._folder:
            try:
                status = int(self._line()) if self._own is None else self._own.wait()
            except BaseException:  # a test that took too long, Ctrl-C: nobody reads the answer
                _importer.cache_clear()
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                raise
            return subprocess.CompletedProcess(self._command, status, *(path.read_text() for path in self._said))

    def _line(self) -> str:
        assert self._importer.stdout is not None
        return self._importer.stdout.readline()


@functools.cache
def _importer() -> subprocess.Popen[str]:
    """The process of tests/forked.py; it ends with this one, when nobody writes to it any more."""
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forked.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip


@contextmanager
def held_by_another(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock file until the end, or until it is killed."""
    code = (
        "import sys, time, pathlib; from hwnas.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
