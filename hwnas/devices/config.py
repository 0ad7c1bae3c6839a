"""Which device to use and how to reach it."""

from __future__ import annotations

from dataclasses import dataclass

from hwnas.errors import ConfigError

__all__ = ["DeviceConfig"]


@dataclass(frozen=True)
class DeviceConfig:
    """`name` is a profile of `device_profiles/`, or the path of a profile of one's own.

    `python`: the interpreter that runs the measuring agent there; None is this one (`local`) or `python3`.
    `silence_s`: how long the device may say nothing before the measurement is given up.
    """

    name: str = "local"
    python: str | None = None
    silence_s: float = 300.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("device.name: expected a device profile's name or path, got ''; see hwnas devices")
        if not self.silence_s > 0:
            raise ConfigError(f"device.silence_s: expected a positive number of seconds, got {self.silence_s}")
