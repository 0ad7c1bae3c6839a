"""Which files of the user's own are read while their code makes a network: weights and settings beside it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["noted_reads"]

_CODE = (".py", ".pyc", ".pyi")
_WEIGHTS = (".bin", ".ckpt", ".npy", ".npz", ".pkl", ".pt", ".pth", ".safetensors")
_listening: list[set[str]] = []
_hooked = False


@contextmanager
def noted_reads(folders: list[Path]) -> Iterator[set[Path]]:
    """The files that are opened for reading meanwhile: those below `folders`, and weights wherever they lie.

    Filled in at the end. Files that are mapped into memory without Python's knowledge are missed: safetensors.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_note)  # for good: there is no taking it back
        _hooked = True
    opened: set[str] = set()
    found: set[Path] = set()
    _listening.append(opened)
    try:
        yield found
    finally:
        _listening.remove(opened)
        found.update(path for path in map(Path, opened) if _counts(path, folders))


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _listening or event != "open":
        return
    path, mode, flags = arguments
    reads = not set(mode) & set("wax+") if isinstance(mode, str) else not (flags or 0) & (os.O_WRONLY | os.O_RDWR)
    if reads and isinstance(path, (str, bytes, os.PathLike)):
        for opened in _listening:
            opened.add(str(Path(os.fsdecode(path)).absolute()))


def _counts(path: Path, folders: list[Path]) -> bool:
    if path.suffix in _CODE or not path.is_file():
        return False
    path = path.resolve()
    beside = any(path.is_relative_to(folder) for folder in folders)
    hidden = any(part.startswith(".") for folder in folders if path.is_relative_to(folder)
                 for part in path.relative_to(folder).parts)  # fmt: skip
    return (beside and not hidden) or path.suffix in _WEIGHTS
