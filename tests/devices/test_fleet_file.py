"""The file of a fleet: what it may say, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.fleet import read_fleet
from hwnas.errors import DeviceError


def fleet(folder: Path, text: str) -> Path:
    path = folder / "rack.yaml"
    path.write_text(text)
    return path


def test_units_have_what_the_settings_say_but_for_the_address(tmp_path: Path) -> None:
    path = fleet(
        tmp_path,
        """
- device: raspberry_pi_5
  address: pi@10.0.0.11
  host: rack1
- {device: raspberry_pi_5, address: "pi@10.0.0.12", python: /opt/python3, silence_s: 9}
- device: pixel_8
  address: 0123456
""",
    )
    first, second, phone = read_fleet(path, DeviceConfig("local", "ssh", "elsewhere", key_file="/key", silence_s=60.0))
    assert (first.profile.name, first.transport, first.address, first.host) == (
        "raspberry_pi_5", "ssh", "pi@10.0.0.11", "rack1",
    )  # fmt: skip
    assert (first.device.key_file, first.device.silence_s, first.device.python) == ("/key", 60.0, None)
    assert (second.device.python, second.device.silence_s, second.host) == ("/opt/python3", 9, None)
    assert (phone.transport, phone.address) == ("adb", "0123456")
    assert [unit.name for unit in (first, phone)] == ["raspberry_pi_5 at pi@10.0.0.11", "pixel_8 at 0123456"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("device: local", "expected a list of units, each such as - device: local, got dict"),
        ("[]", "expected a list of units, each such as - device: local, got an empty one"),
        ("", "is empty"),
        ("- local", "unit 1 is 'local': expected keys and values, such as device: raspberry_pi_5"),
        ("- device: local\n- adress: x", "unit 2: unknown key 'adress': did you mean 'address'"),
        ("- address: x", "unit 1: device is missing: the name of a profile"),
        ("- device: raspberry", "unit 1: no device profile 'raspberry'"),
        ("- device: local\n  address: [a]", r"unit 1: address is \['a'\], expected text"),
        ("- device: local\n  silence_s: soon", "unit 1: silence_s is 'soon', expected a number"),
        ("- device: local\n  silence_s: 0", "unit 1: device.silence_s: expected a positive number of seconds, got 0"),
        ("- device: local\n  transport: usb", "unit 1: device.transport: 'usb' unknown"),
        ("- device: local\n- device: local", r"units 1 and 2 are one device \(local, this machine\): leave one out"),
        (
            "- device: pixel_8\n  address: X1\n- device: local\n- device: pixel_6\n  address: X1",
            r"units 1 and 3 are one device \(adb, X1\): leave one out, or give each its own address",
        ),
        ("- device: pixel_8\n- device: pixel_8", r"units 1 and 2 are one device \(adb, the one that is attached\)"),
        (
            "- {device: raspberry_pi_5, address: pi@Board}\n- {device: raspberry_pi_5, address: 'root@board:22'}",
            r"units 1 and 2 are one device \(ssh, root@board:22\)",
        ),
    ],
)
def test_a_wrong_file_is_said_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DeviceError, match=said) as caught:
        read_fleet(fleet(tmp_path, text), DeviceConfig())
    assert str(caught.value).startswith(str(tmp_path / "rack.yaml"))
    assert "\n" not in str(caught.value)


def test_a_tracker_hands_out_several(tmp_path: Path) -> None:
    entry = "- {device: raspberry_pi_5, transport: tvm_rpc, address: '10.0.0.2:9190/board'}\n"
    assert len(read_fleet(fleet(tmp_path, 3 * entry), DeviceConfig())) == 3
    with pytest.raises(DeviceError, match="no such file"):
        read_fleet(tmp_path / "none.yaml", DeviceConfig())
