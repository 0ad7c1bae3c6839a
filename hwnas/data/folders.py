"""What of a folder is looked at, and what is an image by its name. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hwnas.errors import DataError

__all__ = ["EXTENSIONS", "is_image", "is_linked_above", "listed", "printable", "visible"]

# What Pillow's own plugins read of still images made of pixels: neither documents, films nor measurements.
EXTENSIONS = (
    ".apng", ".avif", ".avifs", ".bmp", ".bw", ".dds", ".dib", ".gif", ".icb", ".ico", ".j2c", ".j2k", ".jfif", ".jp2",
    ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm",
    ".psd", ".qoi", ".ras", ".rgb", ".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm",
)  # fmt: skip
_EXTENSIONS = frozenset(EXTENSIONS)

# What operating systems, file servers and archives put beside people's files; names that start with a dot as well.
_SYSTEM = frozenset((
    "$recycle.bin", "#recycle", "#snapshot", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "__macosx",
    "__pycache__", "desktop.ini", "ehthumbs.db", "ehthumbs_vista.db", "icon\r", "lost+found", "recycler",
    "system volume information", "thumbs.db",
))  # fmt: skip


def visible(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """The entries of `folder` that are neither hidden nor a system's, by name. DataError where it can't be read."""
    try:
        with os.scandir(folder) as entries:
            kept = [e for e in entries if not e.name.startswith(".") and e.name.casefold() not in _SYSTEM]
    except OSError as error:
        raise DataError(
            f"data.root: {printable(folder)} cannot be read ({error.strerror}): expected a folder that this user may"
            " list; change its permissions or move it away"
        ) from error
    return sorted(kept, key=lambda entry: entry.name)


def is_image(name: str) -> bool:
    """Whether a file so called is one of an image."""
    return os.path.splitext(name)[1].lower() in _EXTENSIONS  # noqa: PTH122 - Path objects for a million files


def is_linked_above(link: str, *others: str) -> bool:
    """Whether `link` leads to a folder that holds it, or that holds one of the real paths `others`, or to these."""
    target = os.path.realpath(link)
    below = (os.path.realpath(os.path.dirname(link)), *others)  # noqa: PTH120 - Path would drop a trailing dot
    return any(path == target or path.startswith(target.rstrip(os.sep) + os.sep) for path in below)


def printable(path: str | os.PathLike[str]) -> str:
    """`path` for messages: bytes of a name that are no UTF-8 as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def listed(names: Sequence[str], most: int = 8, counted: str = "") -> str:
    """The first names and how many more; with `counted`, what they are, as `3 links, such as a`."""
    if counted:
        return f"{len(names)} {counted}{'s' * (len(names) > 1)}, such as {names[0]}"
    shown = ", ".join(names[:most]) or "none"
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
