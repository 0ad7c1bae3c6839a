"""What transports to another machine share: files by their content's hash, and an agent that is checked before it runs.

The device needs a POSIX shell and Python 3 with numpy and the runtime. One folder there holds what hwnas brings, and
nothing else is touched.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from abc import abstractmethod
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

from hwnas.devices.process import Process, ProcessError, read_lines
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError, StorageError
from hwnas.files import sha256_of_file

__all__ = ["TAMPERED", "RemoteTransport"]

TAMPERED = 97
"""The exit status that says that a script on the device is not the one that was sent."""

_ASKING_S = 60.0
_HASH_DIGITS = 24

# Runs exactly the bytes whose hash was checked. The thread ends the process when standard input ends: that is when
# hwnas goes away, or the connection does.
_BOOTSTRAP = f"""
import hashlib, os, sys, threading
path, expected, job = sys.argv[1:4]
source = open(path, "rb").read()
found = hashlib.sha256(source).hexdigest()
if found != expected:
    sys.stderr.write(path + " has SHA-256 " + found)
    sys.exit({TAMPERED})
def watch():
    while os.read(0, 4096):
        pass
    os._exit(130)
threading.Thread(target=watch, daemon=True).start()
sys.argv = [path, job]
exec(compile(source, path, "exec"), {{"__name__": "__main__", "__file__": path}})
""".strip()


class RemoteTransport(Transport):
    """A device with a shell. Subclasses start commands there and put files; `where` names the device in errors."""

    def __init__(self, where: str, folder: str, python: str | None, silence_s: float) -> None:
        self.where = where
        self.folder = PurePosixPath(folder)
        self._python = python or "python3"
        self._silence_s = silence_s

    @abstractmethod
    def start(self, command: str) -> Process:
        """Starts a shell command on the device, its standard input held open."""

    @abstractmethod
    def put(self, source: Path, target: str) -> None:
        """Copies a file there. Raises OSError where it could not be written, DeviceError without connection."""

    def ask(self, command: str) -> str:
        """What a short command says. Raises DeviceError where it fails."""
        with closing(read_lines(self.start(command), self.where, _ASKING_S)) as lines:
            return "\n".join(lines)

    def stage(self, files: Mapping[str, Path]) -> dict[str, str]:
        names = {name: f"{sha256_of_file(path)[:_HASH_DIGITS]}{path.suffix}" for name, path in files.items()}
        present = self._present()
        if unwanted := sorted(set(present) - set(names.values())):
            self._remove(unwanted)
        sent = set(present)
        for name, path in files.items():
            if present.get(names[name]) == path.stat().st_size or names[name] in sent - set(present):
                continue
            self._send(path, names[name])
            sent.add(names[name])
        return {name: str(self.folder / "models" / kept) for name, kept in names.items()}

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        expected = sha256_of_file(script)
        target = self.folder / f"agent-{expected[:_HASH_DIGITS]}.py"
        self.ask(f"mkdir -p {_quote(self.folder)}")
        if self.ask(f"test -e {_quote(target)} && echo yes; true").strip() != "yes":
            self._copy(script, target)
        job_target = self.folder / "job.json"
        with tempfile.TemporaryDirectory(prefix="hwnas-") as local:
            job_file = Path(local) / "job.json"
            job_file.write_text(json.dumps(job))
            self._copy(job_file, job_target)
        arguments = " ".join(map(_quote, (_BOOTSTRAP, target, expected, job_target)))
        # Not the shell's last command, which it may replace itself with: then a signal would not become a status.
        process = self.start(f"{_quote(self._python)} -u -c {arguments}; exit $?")
        with closing(read_lines(process, self.where, self._silence_s)) as lines:
            try:
                yield from lines
            except ProcessError as error:
                raise self._explained(error, target) from error

    def _explained(self, error: ProcessError, agent: PurePosixPath) -> DeviceError:
        """The same with its remedy, for statuses that the shell and the bootstrap give a meaning."""
        if error.step.doing:
            return error  # the agent's own
        if error.status == TAMPERED:
            return DeviceError(
                f"{self.where}: the measuring agent there is not the file that hwnas copied, and was not run"
                f" ({agent}); find out who changed it, remove it there, and run the same command again"
            )
        if error.status in (126, 127):
            return DeviceError(
                f"{self.where}: cannot start {self._python} there; install Python 3, or name it with device.python=PATH"
            )
        return error

    def _present(self) -> dict[str, int]:
        """Names and sizes of the files staged there; the folder is made where it lacks."""
        folder = _quote(self.folder / "models")
        self.ask(f"mkdir -p {folder}")
        listed = self.ask(f'cd {folder} && for f in *; do test -f "$f" && wc -c "$f"; done; true')
        sizes = {}
        for line in listed.splitlines():
            size, _, name = line.strip().partition(" ")
            if size.isdigit():
                sizes[name] = int(size)
        return sizes

    def _remove(self, names: list[str]) -> None:
        # A shell's command line has limits.
        for start in range(0, len(names), 100):
            chosen = " ".join(_quote(name) for name in names[start : start + 100])
            self.ask(f"cd {_quote(self.folder / 'models')} && rm -f -- {chosen}")

    def _send(self, source: Path, name: str) -> None:
        """Under a temporary name first: a file of its proper name is whole."""
        part = self.folder / "models" / f"{name}.part"
        self._copy(source, part)
        self.ask(f"mv {_quote(part)} {_quote(self.folder / 'models' / name)}")

    def _copy(self, source: Path, target: PurePosixPath) -> None:
        try:
            self.put(source, str(target))
        except OSError as error:
            free = self._free_kib(target.parent)
            needed = source.stat().st_size / 1024
            if free is not None and free <= needed:
                self.ask(f"rm -f {_quote(target)}")
                raise StorageError(
                    f"{self.where}: {self.folder} is full there ({free} KiB free, {needed:.0f} KiB needed): free space,"
                    " choose another folder with device.folder=PATH, or lower profiling.chunk_mib"
                ) from error
            raise StorageError(
                f"{self.where}: cannot write {target} there ({error.strerror or error}): choose another folder with"
                " device.folder=PATH"
            ) from error

    def _free_kib(self, folder: PurePosixPath) -> int | None:
        lines = self.ask(f"df -Pk {_quote(folder)}; true").splitlines()
        fields = lines[-1].split() if lines else []
        return int(fields[3]) if len(fields) > 3 and fields[3].isdigit() else None


def _quote(value: object) -> str:
    """For the shell there; a leading `~/` stays what it means."""
    text = str(value)
    return f"~/{shlex.quote(text[2:])}" if text.startswith("~/") else shlex.quote(text)
