"""Where what was fetched or made once is kept for this user. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["images_folder", "user_cache"]


def user_cache() -> Path:
    """`$XDG_CACHE_HOME/hwnas`, or `~/.cache/hwnas`."""
    base = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has relative paths ignored.
    cache = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "hwnas"


def images_folder() -> Path:
    """Where decoded images are kept: `$HWNAS_IMAGE_CACHE`, or `images` in the user's cache."""
    given = os.environ.get("HWNAS_IMAGE_CACHE")
    return Path(given).expanduser() if given else user_cache() / "images"
