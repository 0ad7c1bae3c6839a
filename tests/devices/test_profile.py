"""Device profiles: every shipped file loads, and a wrong one is refused by file and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import ConfigError, DeviceError
from hwnas.runtimes import PRECISIONS_OF_RUNTIME

GOOD = """\
name: board
description: a board
transport: local
runtimes: {onnxruntime: [fp32]}
cpu: [{core: Cortex-A76, count: 4, ghz: 2.4}]
sources: [https://example.org/board]
"""


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_loads(name: str) -> None:
    assert load_profile(name).name == name


def test_the_local_machine_runs_every_runtime() -> None:
    assert load_profile("local").runtimes == PRECISIONS_OF_RUNTIME


def test_a_profile_of_ones_own_is_loaded_by_path(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(GOOD)
    profile = load_profile(str(path))
    assert (profile.cores, profile.memory_mib) == (4, None)
    assert profile.sources == ("https://example.org/board",)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("count: 4", "count: four", "cpu count"),
        ("count: 4", "count: -4", "cpu count"),
        ("count: 4", "count: true", "cpu count"),
        ("ghz: 2.4", "ghz: 2400", "cpu ghz"),
        ("ghz: 2.4", "mhz: 2400", "core, count and ghz"),
        ("cpu: [", "cpus: [", "did you mean 'cpu'"),
        ("sources: [https://example.org/board]", "", "without a source"),
        ("sources: [", "memory_mib: -4\nsources: [", "memory_mib"),
        ("sources: [", "bandwidth_gb_s: .nan\nsources: [", "bandwidth_gb_s"),
        ("transport: local", "transport: pigeon", "valid: local, ssh, adb, tvm_rpc"),
        ("transport: local", "", "missing transport"),
        ("name: board", "name: bored", "bored"),
        ("onnxruntime: [fp32]", "onnx: [fp32]", "valid: onnxruntime"),
        ("onnxruntime: [fp32]", "onnxruntime: [fp33]", "did you mean 'fp32'"),
        ("onnxruntime: [fp32]", "onnxruntime: fp32", "list"),
        (GOOD, "- a list", "expected keys"),
        (GOOD, "a: [", "not readable YAML"),
        (GOOD, "!!python/object:os.system {}", "not readable YAML"),
    ],
)
def test_a_wrong_profile_is_refused_by_name(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(DeviceError) as caught:
        load_profile(str(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "board.yaml" in str(caught.value)


WORDS = [
    "1_2345678", "0123456", "87681e+28", "8.7681e28", "2026_11_28", "2026-11-28", "12:30", "1:2:3", "yes", "no", "on",
    "off", "true", "0x1F", "0b11", "1e3", ".5", ".inf", ".nan", "007", "+49", "-5", "=", "R58N90ABCDE", "1.2.3.4:5555",
    "192.168.1.7:22", "1_000.5", "'null'", '"~"',
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_text_is_text_as_it_is_typed(tmp_path: Path, word: str) -> None:
    """YAML takes each of these for a number, a date or a truth value, or would if nobody looked."""
    typed = word.strip("'\"")
    path = tmp_path / f"{typed}.yaml"
    path.write_text(
        f"name: {word}\ndescription: {word}\ntransport: adb\naddress: {word}\nsoc: {word}\ntvm_target: {word}\n"
        f"runtimes: {{onnxruntime: [fp32]}}\ncpu:\n- {{core: {word}, count: 4}}\nsources:\n- {word}\n"
    )
    found = load_profile(str(path))
    assert (found.name, found.description, found.address, found.soc, found.tvm_target) == (typed,) * 5
    assert found.cpu[0].core == typed
    assert found.sources == (typed,)


@pytest.mark.parametrize(
    ("number", "value"), [("8192", 8192), ("8_192", 8192), ("010", 10), ("+7", 7), ("2.5e3", None), ("0x10", None),
                          ("12:30", None), ("'8192'", None), ("yes", None), ("1,5", None)]
)  # fmt: skip
def test_numbers_are_decimal(tmp_path: Path, number: str, value: int | None) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(f"{GOOD}memory_mib: {number}\n")
    if value is not None:
        assert load_profile(str(path)).memory_mib == value
    else:
        with pytest.raises(DeviceError, match=r"memory_mib is .*, expected a whole number"):
            load_profile(str(path))


def test_numbers_with_a_point_or_an_exponent(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text(f"{GOOD}bandwidth_gb_s: 1.71e1\npeak_gmacs: 19\nmax_file_mib:\naddress: ~\n")
    found = load_profile(str(path))
    assert (found.bandwidth_gb_s, found.peak_gmacs, found.max_file_mib, found.address) == (17.1, 19, None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: expected keys and values"),
        (b"# nothing yet\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (GOOD.encode() + b"name: board\n", "line 7: the key 'name' stands there twice"),
        (GOOD.replace("count: 4,", "count: 4, count: 5,").encode(), "line 5: the key 'count' stands there twice"),
        (GOOD.replace("a board", "für Bänke").encode("latin-1"), "not UTF-8 text (byte 0xfc in line 2): save it as"),
        (GOOD.encode("utf-16"), "not UTF-8 text"),
        (b"\tname: board\n", "line 1, column 1: a tab where a line begins: indent with spaces"),
        (GOOD.encode() + b"a: &x [*x]\n", "nested more than 10 deep"),
        (GOOD.encode() + b"[1]: 2\n", "a key is text"),
        (GOOD.encode() + b"--- \nname: other\n", "not readable YAML"),
        (b"a: b: c\n", "line 1, column 5: mapping values are not allowed here"),
        (b"name: !!binary aGk=\n", "the tag !!binary is not known here"),
        (GOOD.replace("https://example.org/board", "[a]").encode(), "sources has ['a'], expected lines of text"),
        (GOOD.replace("description: a board", "description: [a]").encode(), "description is ['a'], expected text"),
    ],
)
def test_a_file_that_is_no_profile_is_refused_in_one_clear_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "board.yaml"
    path.write_bytes(content)
    with pytest.raises(DeviceError) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_merged_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_profile(str(path)).description == "a board"
    twice = "cpu:\n- &big {core: 1e3, count: 4, ghz: 2.4}\n- {<<: *big, count: 2}"
    path.write_text(GOOD.replace("cpu: [{core: Cortex-A76, count: 4, ghz: 2.4}]", twice))
    assert [(kind.core, kind.count, kind.ghz) for kind in load_profile(str(path)).cpu] == [
        ("1e3", 4, 2.4), ("1e3", 2, 2.4),
    ]  # fmt: skip


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(DeviceError, match="did you mean 'local'"):
        load_profile("locl")


def test_a_runtime_that_the_device_lacks_is_refused() -> None:
    with pytest.raises(DeviceError, match="valid: onnxruntime, litert, tvm"):
        load_profile("local").check_runtime("coreml", "fp32")
    with pytest.raises(DeviceError, match="valid: fp32"):
        load_profile("local").check_runtime("tvm", "int8")


@pytest.mark.parametrize(
    "values",
    [{"name": ""}, {"transport": "pigeon"}, {"folder": "here"}, {"silence_s": 0.0}, {"silence_s": float("nan")}],
)
def test_a_wrong_device_config_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"device\."):
        DeviceConfig(**values)
