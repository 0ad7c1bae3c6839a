"""From a device's profile to the transport that reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hwnas.devices.config import DeviceConfig
from hwnas.devices.local import LocalTransport
from hwnas.devices.profile import TRANSPORTS, DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError, choices

__all__ = ["connect"]


@contextmanager
def connect(profile: DeviceProfile, config: DeviceConfig) -> Iterator[Transport]:
    """The transport of `profile`, closed at the end. Raises DeviceError where the device can't be reached."""
    if profile.transport != "local":
        raise DeviceError(f"device {profile.name}: transport {choices(profile.transport, TRANSPORTS)}")
    transport = LocalTransport(config.python, config.silence_s)
    try:
        yield transport
    finally:
        transport.close()
