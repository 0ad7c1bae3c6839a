"""The transport to a TVM RPC server, directly or through a tracker.

The device runs `python -m tvm.exec.rpc_server`, or TVM's C++ server or Android application. The measuring agent runs
here and drives it: files go over in its session, and the device's own timer measures.
"""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Generator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hwnas.devices.local import LocalTransport
from hwnas.devices.transport import place
from hwnas.errors import ConfigError, DeviceError, MissingExtraError

__all__ = ["TvmRpcTransport", "parse_rpc_address"]

_CONNECTING_S = 10.0


def parse_rpc_address(address: str) -> dict[str, Any]:
    """Host, port and key of `host:port` (a server) or `host:port/key` (a tracker, and what the server is called there).

    Raises ConfigError.
    """
    found = re.fullmatch(r"(?P<host>[^/]+):(?P<port>\d+)(/(?P<key>.+))?", address)
    if not found or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            f"device.address: expected host:port of a server, or host:port/key of a tracker, got {address!r}"
        )
    return {"host": found["host"].strip("[]"), "port": int(found["port"]), "key": found["key"]}


class TvmRpcTransport(LocalTransport):
    """Runs the agent here with a `driver` in its job. Raises DeviceError where nothing answers at `address`."""

    def __init__(self, address: str, silence_s: float, device: str = "") -> None:
        where = place(device, f"tvm_rpc {address}")
        super().__init__(sys.executable, silence_s, where)
        if find_spec("tvm") is None:
            raise MissingExtraError("apache-tvm", "tvm", "measuring over TVM RPC")
        self._server = parse_rpc_address(address)
        try:
            socket.create_connection((self._server["host"], self._server["port"]), timeout=_CONNECTING_S).close()
        except OSError as error:
            raise DeviceError(
                f"{where} does not answer ({error.strerror or error}): start python -m tvm.exec.rpc_server on"
                " the device, and check device.address"
            ) from error

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        return super().run(script, {**job, "driver": {"kind": "tvm_rpc", **self._server}})
