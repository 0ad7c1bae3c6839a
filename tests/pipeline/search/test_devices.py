"""Many devices in one search: each has what a search of it alone finds, whoever searches it, killed or not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from simulated_devices import write_predictor

from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.errors import ConfigError, CoverageError, HwnasError, StorageError
from hwnas.latency.fewshot.calibration import taught_prior
from hwnas.latency.fewshot.method import FewShotSession
from hwnas.latency.fewshot.predictor_file import save_predictor_file
from hwnas.pipeline.search.devices import STATE
from hwnas.pipeline.search.step import search
from hwnas.pipeline.space import resolve_space
from hwnas.spaces import Space
from tests.pipeline.search.test_tables import SHORT, written_table

DEVICES = tuple(f"phone{number:02d}" for number in range(30))
TWO_RUNTIMES = DEVICES[3]


@pytest.fixture(scope="module")
def space() -> Space:
    register_schemas()
    return resolve_space(to_pipeline_config(compose_config("search", ["experiment=smoke"])))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, space: Space) -> Path:
    """A folder with a table of each device, two of one of them, and an accuracy predictor."""
    folder = tmp_path_factory.mktemp("devices")
    for seed, device in enumerate(DEVICES):
        for runtime in ("onnxruntime", "litert")[: 2 if device == TWO_RUNTIMES else 1]:
            path = folder / "tables" / device / f"{runtime}-fp32-1t.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            written_table(space, path, runtime, 0.4 * (seed % 2), device, seed)
    write_predictor(folder / "predictor.safetensors", space, rows=60)
    return folder


def settings(files: Path, devices: Sequence[str], *more: str) -> list[str]:
    own = [] if more and "runtime" in more[0] else ["runtime=onnxruntime"]
    return [
        "experiment=smoke", f"latency.path={files / 'tables'}", f"accuracy.path={files / 'predictor.safetensors'}",
        f"devices=[{','.join(devices)}]", *own, *SHORT, "search.comparison_networks=3", *more,
    ]  # fmt: skip


def searched(folder: Path, asked: Sequence[str]) -> dict[str, Any]:
    """The result, without times."""
    search(to_pipeline_config(compose_config("search", list(asked))), folder)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())["result"]
    del result["elapsed_s"]
    for steps in result["history"]:
        del steps["elapsed_s"]
    return result


def of_device(result: dict[str, Any], device: str) -> list[Any]:
    ids = {entry["id"] for entry in result["selected"] if entry["device"] == device}
    parts = ([one for one in result[key] if one["device"] == device] for key in ("selected", "front"))
    return [*parts, [steps for steps in result["history"] if steps["id"] in ids]]


@pytest.fixture(scope="module")
def together(files: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All devices in one search, in this process."""
    return searched(tmp_path_factory.mktemp("together"), settings(files, DEVICES, "executor.workers=1"))


def test_each_device_has_what_a_search_of_it_alone_finds(files: Path, together: dict[str, Any], tmp_path: Path) -> None:
    assert [entry["device"] for entry in together["selected"]] == [name for name in DEVICES for _ in range(2)]
    alone = [searched(tmp_path / device, settings(files, [device])) for device in DEVICES]
    for device, one in zip(DEVICES, alone, strict=True):
        assert of_device(one, device) == of_device(together, device)
        assert len(of_device(one, device)[0]) == 2
    assert sum(one["evaluations"] for one in alone) == together["evaluations"]
    archs = [json.dumps(entry["arch"]) for entry in together["selected"]]
    assert len(set(archs)) > 5  # devices differ, and so do their networks


@pytest.mark.parametrize("executor", ["executor.workers=2", pytest.param("executor=ray", marks=pytest.mark.slow)])
def test_workers_find_the_same_in_any_order_of_the_devices(
    files: Path, together: dict[str, Any], tmp_path: Path, executor: str
) -> None:
    if executor == "executor=ray":
        pytest.importorskip("ray", reason="ray is not installed: pip install 'hwnas[ray]'")
    assert searched(tmp_path / "same", settings(files, DEVICES, executor)) == together
    turned = searched(tmp_path / "turned", settings(files, DEVICES[::-1], executor))
    for device in DEVICES:
        assert of_device(turned, device) == of_device(together, device)


def test_settings_of_a_device_stay_together(files: Path, tmp_path: Path) -> None:
    """A device's second setting starts from what its first found, as in a search of that device."""
    both = ("runtime=[onnxruntime,litert]",)
    alone = searched(tmp_path / "alone", ["runtime=[onnxruntime,litert]", *settings(files, [TWO_RUNTIMES], *both)[:-1]])
    names = [path.name for path in sorted((tmp_path / "alone" / STATE).iterdir())]
    assert names == [f"0-{TWO_RUNTIMES}-onnxruntime.json", f"1-{TWO_RUNTIMES}-litert.json"]
    assert [entry["runtime"] for entry in alone["selected"]] == ["onnxruntime", "onnxruntime", "litert", "litert"]
    assert alone["selected"][0] == searched(tmp_path / "one", settings(files, [TWO_RUNTIMES]))["selected"][0]


def test_predictors_of_several_devices_are_searched_in_one_call(files: Path, space: Space, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pool = space.unique(space.sample(100, rng))
    prior = taught_prior(space, pool, np.zeros((len(pool), 0)), rng)
    for number, device in enumerate(DEVICES[:3]):
        session = FewShotSession(space, prior, pool)
        latency_ms = space.macs(pool) ** (0.5 + 0.2 * number) / 1e3
        for _ in range(8):
            session.tell(place := session.next(), float(latency_ms[place]))
        facts = {"device": device, "runtime": "litert", "precision": "fp32", "threads": 1}
        save_predictor_file(tmp_path / "onboarded" / device / "predictor.safetensors", session.predictor(), facts)
    given = ("latency=fewshot", f"latency.path={tmp_path / 'onboarded'}")
    own = [*settings(files, [])[:1], *settings(files, [])[2:], *given]
    every = searched(tmp_path / "every", own)
    assert [entry["id"] for entry in every["selected"][::2]] == [f"{device}-litert-tight" for device in DEVICES[:3]]
    one = searched(tmp_path / "one", [*own, f"devices=[{DEVICES[1]}]"])
    assert of_device(one, DEVICES[1]) == of_device(every, DEVICES[1])
    with pytest.raises(StorageError, match=r"no such file: .*phone09"):
        searched(tmp_path / "none", [*own, "devices=[phone09]"])
    file = tmp_path / "onboarded" / DEVICES[0] / "predictor.safetensors"
    with pytest.raises(StorageError, match=r"expected a folder with DEVICE/predictor.safetensors"):
        searched(tmp_path / "none", [*own, f"latency.path={file}", "devices=[a,b]"])
    with pytest.raises(StorageError, match="run hwnas onboard"):
        searched(tmp_path / "none", [*own, f"latency.path={files / 'tables'}"])


def test_a_wrong_table_is_said_before_any_device_is_searched(files: Path, space: Space, tmp_path: Path) -> None:
    for device in DEVICES[:2]:
        written_table(space, tmp_path / "tables" / device / "onnxruntime-fp32-1t.csv", "onnxruntime", 0.0, device)
    path = tmp_path / "tables" / DEVICES[1] / "onnxruntime-fp32-1t.csv"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, "operators": facts["operators"] - 1}))
    with pytest.raises(CoverageError, match="lacks 1 operators"):
        searched(tmp_path / "search", settings(tmp_path, DEVICES[:2], f"accuracy.path={files}/predictor.safetensors"))
    assert not (tmp_path / "search" / STATE).exists()


def test_messages_about_many_devices_stay_short(files: Path, tmp_path: Path) -> None:
    config = to_pipeline_config(compose_config("search", settings(files, DEVICES)))
    many = tuple(f"phone{number:03d}" for number in range(1000))
    with pytest.raises(ConfigError, match=r"distinct names of devices, got phone000, .* and 960 more twice") as caught:
        replace(config, devices=many * 2)
    assert len(str(caught.value)) < 500
    with pytest.raises(HwnasError, match=r"phone is no device of this search; valid: phone00-") as refused:
        searched(tmp_path, settings(files, DEVICES, "search.constraints={latency_ms@phone: 5}"))
    assert len(str(refused.value)) < 1000


@pytest.mark.slow
def test_killed_with_two_workers_it_goes_on_from_the_devices_that_are_done(
    files: Path, together: dict[str, Any], tmp_path: Path
) -> None:
    asked = [one for one in settings(files, DEVICES, "executor.workers=2") if "generations" not in one]
    whole = searched(tmp_path / "whole", asked)
    command = [sys.executable, "-m", "hwnas.cli.main", "search", *asked, f"hydra.run.dir={tmp_path / 'cut'}"]
    state = tmp_path / "cut" / STATE
    for least in (1, 8, 15):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(state.glob("*.json"))) < least:
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        time.sleep(1.5)  # its workers end with it
        done = {path.name: path.stat().st_mtime_ns for path in state.glob("[!.]*.json")}
        assert least <= len(done) < len(DEVICES)
    assert searched(tmp_path / "cut", asked) == whole
    assert {name: (state / name).stat().st_mtime_ns for name in done} == done
