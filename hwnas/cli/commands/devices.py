"""`hwnas devices`: the device profiles that ship with hwnas."""

from __future__ import annotations

from hwnas.cli.console import ConsoleReporter
from hwnas.devices.profile import Cores, DeviceProfile, load_profile, profile_names

__all__ = ["run"]


def run() -> None:
    rows = []
    for name in profile_names():
        profile = load_profile(name)
        runtimes = ", ".join(f"{runtime} ({' '.join(precisions)})" for runtime, precisions in profile.runtimes.items())
        rows.append((name, profile.description, profile.transport, _hardware(profile), runtimes))
    columns = ("device", "what", "transport", "hardware", "runtimes")
    reporter = ConsoleReporter()
    reporter.table("device profiles", columns, rows, left=True)
    reporter.say("sources of these facts: the files in device_profiles/; a profile of your own: device=PATH.yaml")


def _hardware(profile: DeviceProfile) -> str:
    facts = [profile.soc, " + ".join(map(_cores, profile.cpu))]
    facts.append(f"{profile.bandwidth_gb_s:g} GB/s" if profile.bandwidth_gb_s else None)
    return ", ".join(fact for fact in facts if fact) or "read when measured"


def _cores(cores: Cores) -> str:
    clock = f" {cores.ghz:g} GHz" if cores.ghz else ""
    return f"{cores.count}× {cores.core}{clock}"
