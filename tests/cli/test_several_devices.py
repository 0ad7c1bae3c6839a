"""`hwnas run` for several devices: what is said before it trains, and the whole way with a real board beside."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hwnas.cli.commands import COMMANDS, COMMON_KEYS
from tests.cli.test_fleets import needs_ssh, written
from tests.cli.test_pipeline import STEPS, error_line, result_of
from tests.devices.servers import Sshd, sshd
from tests.running import run_hwnas

SMALL = (
    "experiment=smoke", "runtime=onnxruntime", "space.depths=[1]", "space.kernel_sizes=[3,5]",
    "space.expand_ratios=[3]", "training.phases=[{name: full, epochs: 1, learning_rate: 0.1}]",
    "training.random_subnets=2", "evaluation.subnets=20", "profiling.networks=0", "profiling.rounds=2",
    "profiling.max_rounds=2", "profiling.slice_ms=0.2", "profiling.warm_up_ms=1", "search.islands.generations=3",
    "search.comparison_networks=2", "finetune.epochs=0.2",
)  # fmt: skip


def small(command: str) -> list[str]:
    """Those of `SMALL` that the command takes."""
    taken = (*COMMON_KEYS, *COMMANDS[command].keys)
    return [one for one in SMALL if one.partition("=")[0].partition(".")[0] in taken]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("server") / "board") as running:
        yield running


def profile(folder: Path, server: Sshd, name: str = "board", runtimes: str = "{onnxruntime: [fp32]}") -> Path:
    """This machine under another name, reached over SSH."""
    path = folder / f"{name}.yaml"
    address = server.config().address
    path.write_text(
        f"name: {name}\ndescription: this machine\ntransport: ssh\naddress: {address}\nruntimes: {runtimes}\n"
    )
    return path


def reached(server: Sshd, **changes: str) -> dict[str, str]:
    config = server.config()
    own = {"folder": config.folder, "key_file": config.key_file, "known_hosts": config.known_hosts}
    return {"python": sys.executable, **{key: str(value) for key, value in own.items()}, **changes}


def settings(server: Sshd, **changes: str) -> list[str]:
    return [f"device.{key}={value}" for key, value in reached(server, **changes).items()]


def without(folder: Path, module: str) -> Path:
    """An interpreter that lacks a runtime."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nimport importlib.abc\n"
        f"class Lacking(importlib.abc.MetaPathFinder):\n"
        f"    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] == {module!r}: raise ModuleNotFoundError('No module named ' + name)\n"
        f"sys.meta_path.insert(0, Lacking())\n"
    )
    path = folder / "python3"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def devices_of(result: dict[str, Any]) -> list[str]:
    return [target["device"] for target in result["targets"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("device=[local,moon]",), "no device profile 'moon'"),
        (("device=[local,local]",), "devices: expected distinct names of devices, got local twice"),
        (("device=[local,raspberry_pi_5]",), "device raspberry_pi_5 is reached by ssh, and its profile has no address"),
        (("device=[local,raspberry_pi_5]", "device.address=x"), "of which of several devices? give fleet=FILE"),
        (("device=[local,raspberry_pi_5]", "fleet=rack.yaml"), "fleet and devices: give one of them"),
        (("fleet=none.yaml",), "fleet=none.yaml: no such file"),
        (("device=[local,pixel_8]", "runtime=tvm"), "device pixel_8 does not run 'tvm'"),
        (("device=[local,pixel_8]", "formats=[onnx,tvm]"), "formats: device pixel_8 does not run tvm"),
        (("formats=tflite",), "formats: expected onnx among them, in which the networks for onnxruntime are measured"),
        (("precisions=int8",), "precisions: expected fp32 among them"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_said_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = run_hwnas("run", *SMALL, *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert said in error_line(done)
    assert "train:" not in done.stdout


@needs_ssh
def test_a_board_that_fails_is_named_before_anything_is_made(server: Sshd, tmp_path: Path) -> None:
    board, run = profile(tmp_path, server), f"hydra.run.dir={tmp_path / 'run'}"
    lacking = [{"device": "local"}, {"device": str(board), **reached(server)}]
    lacking[1]["python"] = str(without(tmp_path / "bare", "onnxruntime"))
    done = run_hwnas("run", *SMALL, f"fleet={written(tmp_path / 'a.yaml', lacking)}", run)
    address = server.config().address
    assert f"board at {address}: the device has no onnxruntime" in error_line(done)
    assert "train:" not in done.stdout
    gone = [{"device": "local"}, {"device": str(board), **reached(server, address="me@127.0.0.1:1")}]
    done = run_hwnas("run", *SMALL, f"fleet={written(tmp_path / 'b.yaml', gone)}", run)
    assert "board (ssh me@127.0.0.1:1) does not answer" in error_line(done)
    both = [gone[1], {**gone[1], "address": "me@127.0.0.1:2"}]
    done = run_hwnas("run", *SMALL, f"fleet={written(tmp_path / 'c.yaml', both)}", run)
    assert "board: none of 2 answers: board (ssh me@127.0.0.1:1) does not answer" in error_line(done)


def test_a_table_is_checked_on_one_device(tmp_path: Path) -> None:
    done = run_hwnas("validate", "table=t.csv", "device=[local,pixel_8]", f"hydra.run.dir={tmp_path}")
    assert "table and devices: table=FILE checks a latency table alone" in error_line(done)


@needs_ssh
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_way_for_two_devices(server: Sshd, tmp_path: Path) -> None:
    board, folder = profile(tmp_path, server), tmp_path / "run"
    devices = (f"device=[local,{board}]", *settings(server))
    done = run_hwnas("run", *SMALL, *devices, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    result = result_of(folder)
    ids = [f"{device}-onnxruntime-{budget}" for device in ("local", "board") for budget in ("tight", "loose")]
    assert [target["id"] for target in result["targets"]] == ids
    assert [entry["id"] for entry in result_of(folder / "search")["selected"]] == ids
    assert [table["device"] for table in result["tables"]] == ["local", "board"]
    assert [front["device"] for front in result["front"]] == ["local", "board"]
    for target in result["targets"]:
        assert f"/deploy/{target['device']}/{target['budget']}/onnx-fp32/" in target["file"]
        assert Path(target["file"]).is_file()
        assert target["measured_ms"] > 0
        assert "unit" not in target
    exported = result_of(folder / "export")["files"]
    assert [file["device"] for file in exported] == devices_of(result)
    assert all(file["latency_ms"] > 0 for file in exported), [file["latency_reason"] for file in exported]
    networks = {json.dumps(target["arch"]) for target in result["targets"]}
    assert len(list((folder / "finetune").glob("*/result.json"))) == len(networks)
    page = (folder / "report" / "report.html").read_text()
    for device in ("local", "board"):
        assert f"onnxruntime</bdi> on <bdi>{device}" in page
        assert (folder / "report" / f"front-{device}-onnxruntime.png").is_file()
    assert not (folder / "validate" / "measuring").exists()
    again = run_hwnas("run", *SMALL, *devices, f"hydra.run.dir={folder}")
    assert [f"{name}: up to date" in again.stdout for name in STEPS] == [True] * len(STEPS), again.stdout + again.stderr
    for command in ("profile", "search", "export", "validate"):
        alone = run_hwnas(command, *small(command), *devices, f"hydra.run.dir={folder / command}")
        assert f"{command}: up to date" in alone.stdout, alone.stdout + alone.stderr
    own = (f"device={board}", *settings(server), f"hydra.run.dir={folder / 'validate'}")
    one = run_hwnas("validate", *small("validate"), *own)
    assert one.returncode == 0, one.stderr
    assert "networks for local are left out: give device=[board,local]" in one.stdout
    assert devices_of(result_of(folder / "validate")) == ["board", "board"]


@needs_ssh
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_files_are_measured_by_a_unit_that_was_not_left_out(server: Sshd, tmp_path: Path) -> None:
    """Of two units of one model the first doesn't answer when the table is made, and the second one validates."""
    board, folder = str(profile(tmp_path, server)), tmp_path / "run"
    units = [
        {"device": board, **reached(server, address="me@127.0.0.1:1")},
        {"device": board, **reached(server, address=str(server.config().address))},
    ]
    fleet = f"fleet={written(tmp_path / 'rack.yaml', units)}"
    done = run_hwnas("run", *SMALL, fleet, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    name = f"board at {units[1]['address']}"
    assert "board (ssh me@127.0.0.1:1) does not answer" in done.stdout
    assert "; the others of board do its work" in done.stdout
    assert "board at me@127.0.0.1:1 is left out" in done.stdout
    assert f"validate: latency of 2 files on {name}, onnxruntime-fp32-1t" in done.stdout
    targets = result_of(folder)["targets"]
    assert [(target["id"], target["unit"]) for target in targets] == [
        ("board-onnxruntime-tight", name), ("board-onnxruntime-loose", name),
    ]  # fmt: skip
    assert all(file["latency_ms"] > 0 for file in result_of(folder / "export")["files"])
    # Two that were good then: the first one has gone since.
    path = folder / "profile" / "result.json"
    tables = json.loads(path.read_text())
    for unit in tables["result"]["tables"][0]["units"]:
        unit["left_out"] = ""
    path.write_text(json.dumps(tables))
    shutil.rmtree(folder / "validate")
    done = run_hwnas("validate", *small("validate"), fleet, f"hydra.run.dir={folder / 'validate'}")
    assert done.returncode == 0, done.stderr
    assert "does not answer" in done.stdout
    assert f"{name} is asked instead" in done.stdout
    assert [target["unit"] for target in result_of(folder / "validate")["targets"]] == [name, name]
