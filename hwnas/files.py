"""Files that are whole or absent: atomic writes, locks, checksums, and where packaged data lies."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hwnas.errors import StorageError

__all__ = [
    "LOCK_NAME",
    "atomic_path",
    "locked",
    "packaged",
    "read_json",
    "sha256_of_file",
    "sha256_of_json",
    "write_bytes",
    "write_json",
    "write_text",
]

LOCK_NAME = ".lock"
_LOCK_WAIT_S = 3.0  # workers of a process that was killed hold its lock until they notice, for up to a second

_PACKAGED_FOLDERS = ("conf", "device_profiles", "latency_tables")


def packaged(folder: str) -> Path:
    """The folder `conf`, `device_profiles` or `latency_tables`, in a checkout as well as in an installed wheel.

    Raises ValueError for another name, StorageError where the installation lacks the folder.

    >>> sorted(path.name for path in hwnas.packaged("latency_tables").iterdir() if path.is_dir())
    ['ofa_mbv3', 'ofa_mbv3_32']
    """
    if folder not in _PACKAGED_FOLDERS:
        raise ValueError(f"not a packaged folder: {folder!r}")
    package = Path(__file__).resolve().parent
    for candidate in (package / "packaged" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise StorageError(f"the installation lacks its folder {folder!r} beside {package}: reinstall hwnas")


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path beside `path`; on success it is flushed to disk and renamed to `path`, else removed.

    Raises StorageError where the file system refuses (full, read-only, missing permission).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free space or choose another folder,"
            " then run the same again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path`, made where needed, against other processes; this one may hold it several times.

    A process that was killed holds nothing. Raises StorageError where another process holds it, or where the folder
    can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=_LOCK_WAIT_S, is_singleton=True, thread_local=False)
        lock.acquire()
    except Timeout as error:
        raise StorageError(
            f"{path.parent} is being written by another hwnas process: wait for it, or choose another folder"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot write {path.parent}: {error.strerror or error}; choose another folder") from error
    try:
        yield
    finally:
        lock.release()


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Write `content` to `path` atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Write `content` to `path` atomically, UTF-8, and return the path."""
    return write_bytes(path, content.encode())


def write_json(path: Path | str, content: Any) -> Path:
    """Write `content` as indented JSON, atomically. NaN and infinities are refused: they are not JSON."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str, error: type[Exception] = StorageError) -> Any:
    """The content of a JSON file; what is missing, truncated or not JSON is raised as `error`."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise error(f"no such file: {path}") from cause
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as cause:
        raise error(f"{path} is not a complete JSON file ({cause}): write it again or delete it") from cause


def sha256_of_file(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def sha256_of_json(content: Any) -> str:
    """Hex digest of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _digest(file: Any) -> str:
    # hashlib.file_digest came with Python 3.11.
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


@functools.cache
def _umask() -> int:
    # Once: it can only be read by setting it, and between the two another thread would make files that all may write.
    current = os.umask(0)
    os.umask(current)
    return current
