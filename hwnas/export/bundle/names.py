"""Where a bundle lies. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["bundle_folder"]


def bundle_folder(device: str, name: str, format_name: str, precision: str) -> Path:
    """Below the export's folder; `name` is the budget's or the network's."""
    return Path("deploy") / _plain(device) / _plain(name) / f"{format_name}-{precision}"


def _plain(name: str) -> str:
    """A name that is one folder's on every file system."""
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "network"
