"""The transport to a board over SSH, with host keys checked and keys instead of passwords."""

from __future__ import annotations

import getpass
import shlex
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.process import CUT_OFF, Process, connection_lost
from hwnas.devices.remote import RemoteTransport
from hwnas.devices.transport import place
from hwnas.errors import ConfigError, DeviceError, MissingExtraError

if TYPE_CHECKING:
    import paramiko

__all__ = ["SshTransport", "parse_address"]

_CONNECTING_S = 15.0
_KEEPALIVE_S = 10
_LAST_WORDS = 2000


def parse_address(address: str) -> tuple[str | None, str, int | None]:
    """User, host and port of `[user@]host[:port]`; IPv6 hosts in brackets. Raises ConfigError."""
    user, _, rest = address.rpartition("@")
    host, port = rest, ""
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ConfigError(f"device.address: expected [user@]host[:port], got {address!r}")
    return user or None, host, int(port) if port else None


class SshTransport(RemoteTransport):
    """A board that runs an SSH server. `known_hosts` None: OpenSSH's own file; `key_file` None: its keys and agent.

    Hosts may be names of `~/.ssh/config`. Raises DeviceError where the host does not answer, its key is unknown or
    another than before, or it does not take the key.
    """

    def __init__(
        self, address: str, folder: str, python: str | None, silence_s: float, key_file: str | None,
        known_hosts: str | None, device: str = "",
    ) -> None:  # fmt: skip
        super().__init__(place(device, f"ssh {address}"), folder, python, silence_s)
        if find_spec("paramiko") is None:
            raise MissingExtraError("paramiko", "ssh", "measuring over SSH")
        self._client = _connect(self.where, address, key_file, known_hosts)
        self._sftp: Any = None
        if folder.startswith("~/"):
            # SFTP knows no tilde; paths have to mean the same in both.
            with _told(self.where):
                self.folder = type(self.folder)(self._files().normalize(".")) / folder[2:]

    def start(self, command: str) -> Process:
        with _told(self.where):
            channel = self._session().open_session(timeout=_CONNECTING_S)
            channel.exec_command(f"exec sh -c {shlex.quote(command)}")
        return _SshProcess(channel)

    def put(self, source: Path, target: str) -> None:
        import paramiko

        try:
            self._files().put(str(source), target)
        except (OSError, paramiko.SSHException, EOFError) as error:
            if isinstance(error, OSError) and self._session().is_active():
                raise  # the server's answer: full, not allowed
            raise connection_lost(self.where, error) from error

    def close(self) -> None:
        self._client.close()

    def _session(self) -> paramiko.Transport:
        session = self._client.get_transport()
        if session is None or not session.is_active():
            raise connection_lost(self.where)
        return session

    def _files(self) -> Any:
        if self._sftp is None:
            self._session()
            self._sftp = self._client.open_sftp()
        return self._sftp


class _SshProcess(Process):
    """A command's channel. Its process ends with its standard input, which closing the channel closes."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._words = b""

    def read(self, timeout_s: float) -> bytes | None:
        # In slices, so that a talkative runtime's errors are drained: its process would wait for that.
        end = time.monotonic() + timeout_s
        while True:
            self._drain()
            self._channel.settimeout(max(0.01, min(0.5, end - time.monotonic())))
            try:
                return bytes(self._channel.recv(1 << 16))
            except TimeoutError:
                if time.monotonic() >= end:
                    return None

    def finish(self) -> tuple[int, str]:
        self._channel.status_event.wait(_CONNECTING_S)
        self._drain()
        status = self._channel.exit_status if self._channel.exit_status_ready() else CUT_OFF
        return status, self._words.decode(errors="replace")

    def end(self) -> None:
        with suppress(OSError, EOFError):
            self._channel.shutdown_write()
            # The process ends a moment after its input; whoever ends it counts on that.
            self._channel.status_event.wait(2.0)
        self._channel.close()

    def _drain(self) -> None:
        while self._channel.recv_stderr_ready():
            self._words = (self._words + self._channel.recv_stderr(1 << 16))[-_LAST_WORDS:]


def _connect(where: str, address: str, key_file: str | None, known_hosts: str | None) -> paramiko.SSHClient:
    import paramiko

    user, host, port = parse_address(address)
    settings: dict[str, Any] = {}
    config_file = Path.home() / ".ssh" / "config"
    if config_file.is_file():
        settings = dict(paramiko.SSHConfig.from_path(str(config_file)).lookup(host))
    host = settings.get("hostname", host)
    port = port or int(settings.get("port", 22))
    keys = [key_file] if key_file else settings.get("identityfile")
    client = paramiko.SSHClient()
    try:
        client.load_host_keys(known_hosts) if known_hosts else client.load_system_host_keys()
    except OSError as error:
        raise DeviceError(f"device.known_hosts: cannot read {known_hosts}: {error.strerror}") from error
    client.set_missing_host_key_policy(_Unknown(where))
    try:
        client.connect(
            host, port, user or settings.get("user") or getpass.getuser(), key_filename=keys,
            look_for_keys=not keys, allow_agent=not key_file, timeout=_CONNECTING_S, banner_timeout=_CONNECTING_S,
            auth_timeout=_CONNECTING_S,
        )  # fmt: skip
    except paramiko.BadHostKeyException as error:
        name = host if port == 22 else f"[{host}]:{port}"
        raise DeviceError(
            f"{where}: the host key is another than known_hosts says (got {error.key.fingerprint}): the board was"
            f" installed anew, or somebody stands in between; if you know it is the former: ssh-keygen -R '{name}'"
        ) from error
    except paramiko.PasswordRequiredException as error:
        raise DeviceError(f"{where}: the key has a passphrase: add it to an agent with ssh-add") from error
    except paramiko.AuthenticationException as error:
        raise DeviceError(
            f"{where}: the board takes none of the keys offered: install yours with ssh-copy-id, or name it with"
            " device.key_file=PATH (passwords are not used)"
        ) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DeviceError(f"{where} does not answer ({reason}): check device.address, and ssh {host}") from error
    session = client.get_transport()
    if session is not None:
        session.set_keepalive(_KEEPALIVE_S)
    return client


class _Unknown:
    """paramiko's MissingHostKeyPolicy: refuse, and say what to do."""

    def __init__(self, where: str) -> None:
        self._where = where

    def missing_host_key(self, _: object, hostname: str, key: paramiko.PKey) -> None:
        raise DeviceError(
            f"{self._where}: the host key of {hostname} is not known ({key.get_name()} {key.fingerprint}):"
            " connect once with the ssh command and compare the fingerprint, or give device.known_hosts=PATH"
        )


class _told:  # noqa: N801 - reads as a statement
    """Turns what paramiko raises when a connection is gone into a DeviceError."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, DeviceError):
            raise connection_lost(self._where, error) from error
