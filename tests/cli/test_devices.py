"""What the commands about devices print, and a table validated alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hwnas.cli.commands import devices
from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.devices.profile import load_profile, profile_names
from hwnas.errors import ConfigError, DeviceError
from hwnas.pipeline.config import SearchStep
from hwnas.pipeline.search.sources import latency_targets
from hwnas.spaces import OfaMbv3Config, make_space
from tests.running import run_hwnas, start_hwnas


def test_output_that_knows_ascii_alone_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = start_hwnas("devices")
    assert done.returncode == 0, done.stderr
    assert "raspberry_pi_5" in done.stdout


def test_devices_lists_every_profile() -> None:
    done = start_hwnas("devices")
    assert done.returncode == 0, done.stderr
    assert len(profile_names()) >= 20
    for name in profile_names():
        assert name in done.stdout
    hardware = devices._hardware(load_profile("raspberry_pi_5"))
    assert hardware == "Broadcom BCM2712, 4× Cortex-A76 2.4 GHz, 17.1 GB/s"


def test_a_roofline_is_marked_as_an_estimate(tmp_path: Path) -> None:
    register_schemas()
    settings = ["latency=roofline", "device.name=raspberry_pi_5"]
    config = to_pipeline_config(compose_config("search", settings)).part(SearchStep)
    space = make_space(OfaMbv3Config(resolution=(160,)))
    (source,) = latency_targets(config, tmp_path, space)
    assert "estimate" in source.name
    assert source.files["device profile"].name == "raspberry_pi_5.yaml"
    target = source.open()
    assert target.runtime == "roofline-estimate"
    latency_ms = target.estimator.latency_ms(space.sample(10, np.random.default_rng(0)))
    assert (latency_ms > space.macs(space.sample(10, np.random.default_rng(0))) / 19.2e6 * 0.999).all()
    nobody = to_pipeline_config(compose_config("search", ["latency=roofline", "device.name=pixel_8"])).part(SearchStep)
    with pytest.raises(DeviceError, match=r"pixel_8.*lacks peak_gmacs"):
        latency_targets(nobody, tmp_path, space)[0].open()


@pytest.mark.parametrize("setting", ["device.name={}/board.yaml", "devices=[{}/board.yaml]"])
def test_tables_of_a_profile_of_ones_own_are_below_its_name(tmp_path: Path, setting: str) -> None:
    """Not beside the profile, wherever that lies."""
    profile, folder = tmp_path / "profiles" / "board.yaml", tmp_path / "run" / "profile"
    profile.parent.mkdir()
    profile.write_text("name: board\ndescription: mine\ntransport: ssh\nruntimes: {onnxruntime: [fp32]}\n")
    register_schemas()
    given = [setting.format(profile.parent), "runtime=onnxruntime", f"latency.path={folder}"]
    config = to_pipeline_config(compose_config("search", given))
    folder.mkdir(parents=True)
    (source,) = latency_targets(config.part(SearchStep), tmp_path / "run" / "search", make_space(OfaMbv3Config()))
    assert next(iter(source.files.values())) == folder / "board" / "onnxruntime-fp32-1t.csv"


@pytest.mark.slow
def test_a_table_is_validated_alone(smoke: Path, tmp_path: Path) -> None:
    (table,) = (smoke / "profile" / "local").glob("onnxruntime-fp32-1t.csv")
    arguments = (f"table={table}", "n=6", "profiling.rounds=2", f"hydra.run.dir={tmp_path / 'v'}")
    done = run_hwnas("validate", *arguments)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "v" / "result.json").read_text())["result"]
    assert {"mape", "mape_test_retest", "spearman", "within_10_percent"} <= result.keys()
    assert len(result["rows"]) == result["networks"] == 6
    assert (tmp_path / "v" / result["plot"]).stat().st_size > 10_000
    assert "up to date" in run_hwnas("validate", *arguments).stdout
    text = table.read_text()
    table.write_text(text.replace(text.splitlines()[1].split(",")[12], "-1", 1))
    broken = run_hwnas("validate", *arguments)
    assert broken.returncode == 1
    assert "row 2" in broken.stderr


def test_a_wrong_number_of_networks_is_refused() -> None:
    register_schemas()
    with pytest.raises(ConfigError, match="n: expected at least 2"):
        to_pipeline_config(compose_config("validate", ["n=1"]))


def test_in_ci_a_skipped_test_is_a_failed_one(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.skipif(True, reason='no sshd here: apt-get install it')\ndef test_one(): pass\n"
        "def test_two(): pytest.skip('set HWNAS_REFERENCE_DATA')\n"
        "def test_three(): pytest.skip('no adb here: apt-get install adb')\n"
        "@pytest.mark.xfail(strict=True)\ndef test_four(): assert False\n"
    )
    root = Path(__file__).parents[2]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-W",
        "ignore",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        str(tmp_path),
    ]
    for required, summary in (("", "3 skipped, 1 xfailed"), ("1", "1 failed, 1 skipped, 1 xfailed, 1 error")):
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root), "HWNAS_REQUIRE_ALL": required}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert summary in done.stdout, done.stdout
    assert "no sshd here" in done.stdout
