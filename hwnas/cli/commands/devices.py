"""`hwnas devices`: the device profiles that ship with hwnas."""

from __future__ import annotations

from hwnas.cli.console import Reporter
from hwnas.devices.profile import load_profile, profile_names

__all__ = ["run"]


def run() -> None:
    rows = []
    for name in profile_names():
        profile = load_profile(name)
        runtimes = ", ".join(f"{runtime} ({' '.join(precisions)})" for runtime, precisions in profile.runtimes.items())
        rows.append((name, profile.description, profile.transport, runtimes))
    Reporter().table("device profiles", ("device", "what", "transport", "runtimes"), rows)
