"""Getting public data into the user's cache, whole or not at all, without root."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwnas.errors import DataError, StorageError
from hwnas.progress import Progress

__all__ = ["download", "fetch_debian_package"]

_APT_SECONDS = 600
_SOCKET_SECONDS = 30
_PLAIN = {"Accept-Encoding": "identity"}


def fetch_debian_package(package: str, inside: Path, folder: Path, progress: Progress) -> None:
    """Unpack what Debian's `package` installs under `/inside` into `folder`.

    Uses `apt-get download` and `dpkg -x`, which need no root. Where the system has no package lists (a fresh
    container), they are fetched into a private folder first. Raises DataError with the reason.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise DataError(f"{tool} is not installed here")
    with _staging(folder) as staging:
        progress(0.0, f"apt-get download {package}")
        try:
            _call(["apt-get", *_APT_OPTIONS, "download", package], staging)
        except DataError:
            private = _private_lists(staging / "apt")
            _call(["apt-get", *_APT_OPTIONS, *private, "update"], staging)
            _call(["apt-get", *_APT_OPTIONS, *private, "download", package], staging)
        packages = list(staging.glob(f"{package}_*.deb"))
        if len(packages) != 1:
            raise DataError(f"apt-get download {package} left {len(packages)} packages, expected one")
        progress(0.5, f"dpkg -x {packages[0].name}")
        _call(["dpkg", "-x", str(packages[0]), str(staging / "unpacked")], staging)
        unpacked = staging / "unpacked" / inside
        if not unpacked.is_dir():
            raise DataError(f"package {packages[0].name} has no folder /{inside}")
        _publish(unpacked, folder)


def download(address: str, sha256: Mapping[str, str], folder: Path, progress: Progress) -> None:
    """Fetch `address`/name for each name of `sha256` into `folder`. Raises DataError with the reason."""
    import pooch  # 0.4 s, which only those pay who download
    import requests

    pooch.get_logger().setLevel("ERROR")
    fetch = pooch.HTTPDownloader(timeout=_SOCKET_SECONDS, headers=_PLAIN, hooks={"response": _keep_as_sent})
    with _staging(folder) as staging:
        files = pooch.create(path=staging / "ready", base_url=f"{address}/", registry=dict(sha256))
        for number, (name, expected) in enumerate(sha256.items()):
            progress(number / len(sha256), f"downloading {name}")
            try:
                files.fetch(name, downloader=fetch)
            except requests.RequestException as error:
                raise DataError(f"no answer ({_first_cause(error)})") from error
            except ValueError as error:  # the digest
                raise DataError(f"{address}/{name} has SHA-256 other than the expected {expected}") from error
        _publish(files.abspath, folder)


_APT_OPTIONS = (
    "--quiet",
    "-oAcquire::Retries=1",
    f"-oAcquire::http::Timeout={_SOCKET_SECONDS}",
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


def _call(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_APT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{command[0]} did not finish within {_APT_SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        raise DataError(f"{command[0]} failed: {' '.join(lines[:2]) or f'exit status {done.returncode}'}")


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
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as staging:
            yield Path(staging)
    except OSError as error:
        raise StorageError(
            f"cannot write {folder}: {error.strerror or error}; free space, or set XDG_CACHE_HOME to another folder"
        ) from error


def _publish(ready: Path, folder: Path) -> None:
    if folder.exists():  # incomplete, or put there by another process meanwhile
        shutil.rmtree(folder)
    ready.replace(folder)
