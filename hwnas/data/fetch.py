"""Getting public data into the user's cache, whole or not at all, without root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hwnas.errors import DataError, StorageError
from hwnas.progress import Progress

__all__ = ["download", "fetch_debian_package"]

_APT_SECONDS = 600
_ANSWER_SECONDS = 3.0
"""After which an address that has said nothing counts as out of reach: name servers and hosts may hang for minutes."""
_SOCKET_SECONDS = 10
"""Silence in the middle of a transfer."""
_NEEDED_BYTES = 150 * 10**6
"""Fashion-MNIST's 31 MB twice, packed and unpacked, and package lists."""
_PLAIN = {"Accept-Encoding": "identity"}


def fetch_debian_package(package: str, inside: Path, folder: Path, progress: Progress) -> None:
    """Unpack what Debian's `package` installs under `/inside` into `folder`.

    Uses `apt-get download` and `dpkg -x`, which need no root. Where the system has no package lists (a fresh
    container), they are fetched into a private folder first. Raises DataError with the reason, a few seconds after the
    start where nothing arrives.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not installed here")
    with _staging(folder) as staging:
        progress(0.0, f"apt-get download {package}")
        try:
            _call(["apt-get", *_APT_OPTIONS, "download", package], staging)
        except _SilenceError:
            raise
        except DataError:
            private = _private_lists(staging / "apt")
            _call(["apt-get", *_APT_OPTIONS, *private, "-oAPT::Update::Error-Mode=any", "update"], staging)
            _call(["apt-get", *_APT_OPTIONS, *private, "download", package], staging)
        packages = list(staging.glob(f"{package}_*.deb"))
        if len(packages) != 1:
            raise DataError(f"apt-get download {package} left {len(packages)} packages, expected one")
        progress(0.5, f"dpkg -x {packages[0].name}")
        _call(["dpkg", "-x", str(packages[0]), str(staging / "unpacked")], staging, _APT_SECONDS)
        unpacked = staging / "unpacked" / inside
        if not unpacked.is_dir():
            raise DataError(f"package {packages[0].name} has no folder /{inside}")
        _publish(unpacked, folder)


def download(address: str, sha256: Mapping[str, str], folder: Path, progress: Progress) -> None:
    """Fetch `address`/name for each name of `sha256` into `folder`.

    Raises DataError with the reason, a few seconds after the start where nobody answers.
    """
    import pooch  # 0.4 s, which only those pay who download
    import requests

    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(timeout=_SOCKET_SECONDS, headers=_PLAIN, hooks={"response": _keep_as_sent})
    with _staging(folder) as staging:
        _check_answers(f"{address}/{next(iter(sha256))}")
        files = pooch.create(path=staging / "ready", base_url=f"{address}/", registry=dict(sha256))
        for number, (name, expected) in enumerate(sha256.items()):
            progress(number / len(sha256), f"downloading {name}")
            try:
                files.fetch(name, downloader=fetch)
            except requests.HTTPError as error:
                raise DataError(f"no such file there ({_first_cause(error)})") from error
            except requests.RequestException as error:
                raise DataError(f"{name} did not arrive whole ({_first_cause(error)})") from error
            except ValueError as error:  # the digest
                raise DataError(f"{address}/{name} has SHA-256 other than the expected {expected}") from error
        _publish(files.abspath, folder)


_APT_OPTIONS = (
    "--quiet",
    "-oAcquire::Retries=0",
    *(f"-oAcquire::{scheme}::Timeout={_SOCKET_SECONDS}" for scheme in ("http", "https")),
    "-oAPT::Sandbox::User=root",  # else root's apt warns that _apt can't write to the cache
)


def _private_lists(folder: Path) -> list[str]:
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    return [
        f"-oDir::State::lists={folder / 'lists'}",
        f"-oDir::Cache={folder}",
        f"-oDir::Cache::archives={folder / 'archives'}",
    ]


class _SilenceError(DataError):
    """Nothing has come from the network."""


def _call(command: list[str], folder: Path, patience_s: float | None = None) -> None:
    """Run `command` in `folder`.

    Raises DataError where it fails, _SilenceError where it waits longer than `patience_s` and no file there grows.
    """
    patience_s = _ANSWER_SECONDS if patience_s is None else patience_s
    before = _bytes_in(folder)
    with tempfile.TemporaryFile("w+") as said, _group(command, folder, said) as process:
        began, heard = time.monotonic(), False
        while process.poll() is None:
            time.sleep(0.05)
            took = time.monotonic() - began
            heard = heard or _bytes_in(folder) > before
            if not heard and took - _cpu_seconds(process.pid) > patience_s:
                raise _SilenceError(f"no answer within {patience_s:g} s")
            if took > _APT_SECONDS:
                raise DataError(f"{command[0]} did not finish within {_APT_SECONDS} s")
        said.seek(0)
        if process.returncode:
            lines = [line for line in said.read().splitlines() if line.startswith(("E:", "dpkg"))]
            reason = " ".join(lines[:2]) or f"exit status {process.returncode}"
            raise DataError(f"{command[0]} failed: {reason}")


@contextmanager
def _group(command: list[str], folder: Path, said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The command, stopped in the end together with those that it started: apt's own wait for the network."""
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # renamed meanwhile
            total += path.stat().st_size if path.is_file() else 0
    return total


def _cpu_seconds(pid: int) -> float:
    """What the process has computed: apt reads its package lists first, and on a small board that takes a while."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # ended, or no Linux
        return 0.0
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def _check_answers(address: str) -> None:
    """DataError unless `address` answers something, whatever it be, within `_ANSWER_SECONDS`.

    In a thread of its own, since a name server that is silent holds up `getaddrinfo`, which takes no time limit.
    """
    import requests

    refused: list[BaseException | None] = []

    def ask() -> None:
        try:
            requests.head(address, timeout=_ANSWER_SECONDS)
        except (requests.RequestException, OSError, ValueError) as error:  # the last for a proxy's odd address
            refused.append(error)
        else:
            refused.append(None)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_ANSWER_SECONDS)
    if not refused:
        raise DataError(f"no answer within {_ANSWER_SECONDS:g} s")
    if refused[0] is not None:
        raise DataError(f"no answer ({_first_cause(refused[0])})")


def _keep_as_sent(response: Any, **_: Any) -> None:
    response.raw.headers.pop("Content-Encoding", None)  # else a .gz file that has this label is unpacked on the way


def _first_cause(error: BaseException) -> str:
    """What the system said, such as `[Errno 111] Connection refused`, below what libraries made of it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return " ".join(str(error).split())


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, removed in the end whatever happens."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(folder.parent).free) < _NEEDED_BYTES:
            raise OSError(f"{free / 1e6:.0f} MB are free there, expected {_NEEDED_BYTES / 1e6:.0f}")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
            yield Path(staging)
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; free space, or set XDG_CACHE_HOME to another folder;"
            " files that you have: data.root=FOLDER"
        ) from error


def _publish(ready: Path, folder: Path) -> None:
    if folder.exists():  # incomplete, or put there by another process meanwhile
        shutil.rmtree(folder)
    ready.replace(folder)
