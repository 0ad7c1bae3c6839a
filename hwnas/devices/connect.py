"""From a device's profile to the transport that reaches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hwnas.devices.config import DeviceConfig
from hwnas.devices.local import LocalTransport
from hwnas.devices.profile import DeviceProfile
from hwnas.devices.transport import Transport
from hwnas.errors import DeviceError

__all__ = ["connect"]

SSH_FOLDER = "~/.cache/hwnas"
ADB_FOLDER = "/data/local/tmp/hwnas"


@contextmanager
def connect(profile: DeviceProfile, config: DeviceConfig) -> Iterator[Transport]:
    """The transport of `profile`, closed at the end.

    Raises DeviceError where the device can't be reached, ConfigError for an address that is none, and
    MissingExtraError where the transport's package is not installed.
    """
    transport = _open(profile, config)
    try:
        yield transport
    finally:
        transport.close()


def _open(profile: DeviceProfile, config: DeviceConfig) -> Transport:
    kind = config.transport or profile.transport
    address = config.address or profile.address
    if kind == "local":
        return LocalTransport(config.python, config.silence_s, profile.name)
    if kind == "adb":
        from hwnas.devices.adb import AdbTransport

        return AdbTransport(
            address, config.folder or ADB_FOLDER, config.python, config.silence_s, config.benchmark_model,
            profile.name,
        )  # fmt: skip
    if address is None:
        form = "[user@]host[:port]" if kind == "ssh" else "host:port or host:port/key"
        raise DeviceError(
            f"device {profile.name} is reached by {kind}, and its profile has no address: give device.address={form},"
            " or fleet=FILE with that of each of several; hwnas running on the device itself: device.transport=local"
        )
    if kind == "ssh":
        from hwnas.devices.ssh import SshTransport

        return SshTransport(
            address, config.folder or SSH_FOLDER, config.python, config.silence_s, config.key_file, config.known_hosts,
            profile.name,
        )  # fmt: skip
    from hwnas.devices.tvm_rpc import TvmRpcTransport

    return TvmRpcTransport(address, config.silence_s, profile.name)
