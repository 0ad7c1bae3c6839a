"""Device profiles: every shipped file loads, and a wrong one is refused by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.devices.config import DeviceConfig
from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import ConfigError, DeviceError
from hwnas.profiling.config import PRECISIONS_OF_RUNTIME

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
def test_a_wrong_device_config_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"device\."):
        DeviceConfig(**values)
