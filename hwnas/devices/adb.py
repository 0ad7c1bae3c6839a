"""The transport to a phone over ADB, by the platform's own `adb` client.

A phone is found by its serial number; several may be attached. The agent runs under a Python on the phone, or, for
LiteRT, this machine drives TensorFlow Lite's `benchmark_model` there, which needs no Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from hwnas.devices.local import LocalTransport
from hwnas.devices.process import LocalProcess, Process, connection_lost
from hwnas.devices.remote import RemoteTransport
from hwnas.devices.transport import place
from hwnas.errors import DeviceError

__all__ = ["AdbTransport", "attached"]

_TIME_LIMIT_S = 600.0
_STARTING_S = 30.0
_STATES = {
    "unauthorized": "unlock it and allow USB debugging",
    "offline": "unplug it and plug it in again",
    "no permissions": "allow your user to use the USB device (udev rules)",
}


def attached() -> dict[str, str]:
    """Serial number to state (`device` is ready) of what `adb` sees. Raises DeviceError where adb does not work."""
    lines = _adb("devices", limit_s=_STARTING_S).splitlines()
    told = (line.strip() for line in lines if line and not line.startswith(("List", "*")))
    pairs = (re.split(r"\s+", line, maxsplit=1) for line in told)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


class AdbTransport(RemoteTransport):
    """The phone with this serial, or the only one for None. `host:port` serials are connected to over the network.

    `benchmark_model`: path on this machine of the binary for the phone's processor; with it the phone needs no Python,
    and only LiteRT runs. Raises DeviceError where no such phone is ready.
    """

    def __init__(
        self, serial: str | None, folder: str, python: str | None, silence_s: float, benchmark_model: str | None,
        device: str = "",
    ) -> None:  # fmt: skip
        if serial and re.fullmatch(r".+:\d+", serial):
            _adb("connect", serial, limit_s=_STARTING_S)
        self._serial = _choose(serial)
        super().__init__(place(device, f"adb {self._serial}"), folder, python, silence_s)
        self._benchmark = Path(benchmark_model) if benchmark_model else None
        if self._benchmark is not None and not self._benchmark.is_file():
            raise DeviceError(f"device.benchmark_model: no such file: {self._benchmark}")

    def start(self, command: str) -> Process:
        return LocalProcess(["adb", "-s", self._serial, "shell", command], hold_input=True)

    def put(self, source: Path, target: str) -> None:
        try:
            _adb("-s", self._serial, "push", str(source), target, limit_s=_TIME_LIMIT_S)
        except DeviceError as error:
            if self._serial in attached():
                raise OSError(str(error)) from error  # the phone's answer: full, not allowed
            raise

    def run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        try:
            yield from self._run(script, job)
        except DeviceError as error:
            if attached().get(self._serial) != "device":
                raise connection_lost(self.where, error) from error
            raise

    def _run(self, script: Path, job: Mapping[str, Any]) -> Generator[str, None, None]:
        if self._benchmark is None:
            yield from super().run(script, job)
            return
        target = self.folder / "benchmark_model"
        self.ask(f"mkdir -p {self.folder}")
        self._copy(self._benchmark, target)
        self.ask(f"chmod 755 {target}")
        driver = {"kind": "benchmark_model", "command": ["adb", "-s", self._serial, "shell"], "binary": str(target)}
        here = LocalTransport(sys.executable, self._silence_s, self.where)
        with closing(here.run(script, {**job, "driver": driver})) as lines:
            yield from lines

    def close(self) -> None:
        """Nothing to end: adb's server stays, as it does after every adb command."""


def _choose(serial: str | None) -> str:
    found = attached()
    if serial is None:
        ready = [name for name, state in found.items() if state == "device"]
        if len(ready) == 1:
            return ready[0]
        if len(ready) > 1:
            raise DeviceError(f"adb sees {len(ready)} phones: choose one with device.address={' or '.join(ready)}")
        if not found:
            raise DeviceError("adb sees no phone: plug one in, enable USB debugging in its developer options")
        serial = next(iter(found))
    state = found.get(serial)
    if state is None:
        raise DeviceError(f"adb sees no phone {serial!r}: attached are {', '.join(found) or 'none'}; see adb devices")
    if state != "device":
        remedy = next((text for start, text in _STATES.items() if state.startswith(start)), "see adb devices")
        raise DeviceError(f"adb: phone {serial} is {state}: {remedy}")
    return serial


def _adb(*arguments: str, limit_s: float) -> str:
    if shutil.which("adb") is None:
        raise DeviceError("there is no adb here: install the Android platform tools (Debian: apt-get install adb)")
    try:
        done = subprocess.run(
            ["adb", *arguments], capture_output=True, text=True, errors="replace", timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"adb {arguments[0]} did not finish in {limit_s:g} s: plug it in again") from error
    said = f"{done.stdout}\n{done.stderr}".strip()
    # adb connect fails with status 0.
    if done.returncode or said.startswith(("failed to", "cannot connect", "unable to")):
        last = said.splitlines()[-1] if said else f"status {done.returncode}"
        raise DeviceError(f"adb {' '.join(arguments[:4])}: {last}")
    return done.stdout
