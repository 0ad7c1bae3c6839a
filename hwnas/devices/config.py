"""Which device to use and how to reach it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["TRANSPORTS", "DeviceConfig"]

TRANSPORTS = ("local", "ssh", "adb", "tvm_rpc")


@dataclass(frozen=True)
class DeviceConfig:
    """`name` is a profile of `device_profiles/`, or the path of a profile of one's own.

    `transport` and `address` stand for those of the profile where given: `[user@]host[:port]` for ssh, a serial number
    for adb, `host:port` or, through a tracker, `host:port/key` for tvm_rpc. `folder`: where files are put there.
    `python`: the interpreter that runs the measuring agent there; None is this one (`local`) or `python3`.
    `silence_s`: how long the device may say nothing before the measurement is given up.
    `key_file`, `known_hosts`: for ssh, instead of OpenSSH's own. `benchmark_model`: for adb, TensorFlow Lite's binary.
    """

    name: str = "local"
    transport: str | None = None
    address: str | None = None
    folder: str | None = None
    python: str | None = None
    silence_s: float = 300.0
    key_file: str | None = None
    known_hosts: str | None = None
    benchmark_model: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("device.name: expected a device profile's name or path, got ''; see hwnas devices")
        if not self.silence_s > 0:
            raise ConfigError(f"device.silence_s: expected a positive number of seconds, got {self.silence_s}")
        if self.transport is not None and self.transport not in TRANSPORTS:
            raise ConfigError(f"device.transport: {self.transport!r} unknown: {choices(self.transport, TRANSPORTS)}")
        if self.folder is not None and not self.folder.startswith(("/", "~/")):
            raise ConfigError(f"device.folder: expected a path that starts with / or ~/, got {self.folder!r}")
