"""Which operators a device's runtime and delegates will not run, named before anything is exported or measured."""

from __future__ import annotations

from hwnas.export.preflight.check import DELEGATES, check_file, preflight
from hwnas.export.preflight.rules import Finding

__all__ = ["DELEGATES", "Finding", "check_file", "preflight"]
