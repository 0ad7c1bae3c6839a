"""Where the page's links lead: to files of the run, relative to the page, so that they are moved with it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

__all__ = ["file_link"]


def file_link(recorded: str | None, page: Path, run_folder: Path | None) -> dict[str, str | None] | None:
    """`text`, the file's path in the run's folder, and `href` from `page` on; no `href` where the file isn't there now.

    `recorded` is the path that the result names, which is from before a run was moved or copied. None without one.
    """
    if recorded is None:
        return None
    path = Path(recorded)
    found = None if run_folder is None else _in_folder(path, run_folder)
    text = recorded if found is None or run_folder is None else found.relative_to(run_folder).as_posix()
    if found is None and path.is_absolute() and path.is_file():
        found = path
    return {"text": text, "href": None if found is None else _href(found, page)}


def _in_folder(path: Path, folder: Path) -> Path | None:
    """The file of `folder` whose path there is the longest end of `path`: its own folder and its name at least."""
    parts = path.parts[1:] if path.is_absolute() else path.parts
    for first in range(len(parts) - 1):
        candidate = folder.joinpath(*parts[first:])
        if ".." not in parts[first:] and candidate.is_file():
            return candidate
    return None


def _href(path: Path, page: Path) -> str | None:
    try:
        return quote(Path(os.path.relpath(path.resolve(), page.parent.resolve())).as_posix())
    except ValueError:  # another drive
        return None
