"""A processor that is not this one's: measured over SSH, exported for, and running what was exported.

The boards are emulated, so no time is looked at.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hwnas.latency.tables.table import read_table
from hwnas.spaces import space_from_dict
from tests.boards.board import HWNAS, Board
from tests.boards.root import MACHINE, SITE, lacking_for_boards
from tests.running import run_hwnas, start_hwnas

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # with the building of what boards run, where nobody did that before
    pytest.mark.skipif(lacking_for_boards() is not None, reason=str(lacking_for_boards())),
]

SMALL = (
    "experiment=smoke", "space.resolution=[16]", "space.kernel_sizes=[3,5]", "space.expand_ratios=[3]",
    "profiling.networks=10", "profiling.rounds=2", "profiling.max_rounds=2", "profiling.slice_ms=1",
    "profiling.warm_up_ms=1", "profiling.reference_copies=1",
)  # fmt: skip
FEW = ("profiling.rounds=2", "profiling.max_rounds=2", "profiling.slice_ms=1", "profiling.warm_up_ms=1")

NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.Hardswish(),
        nn.Conv2d(16, 16, 5, 1, 2, groups=16), nn.ReLU6(), nn.Conv2d(16, 24, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )
"""


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())["result"]
    return result


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert"])
def test_a_board_is_profiled(board: Board, tmp_path: Path, runtime: str) -> None:
    done = run_hwnas("profile", *SMALL, f"runtime={runtime}", *board.arguments, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    result = result_of(tmp_path)
    table = read_table(tmp_path / result["file"])
    facts = table.provenance
    assert table.operators.operators == space_from_dict(facts["spaces"][0]).operators
    assert result["covered"] == result["operators"] == len(table.operators.operators)
    assert (table.operators.median_ms > 0).all()
    assert len(table.networks.archs) == 10
    assert (facts["device"], facts["machine"]["machine"], facts["soc"]) == ("emulated", MACHINE, "emulated Cortex-A76")
    assert facts["runtime"] == runtime
    assert facts["runtime_version"] == version_on(runtime)


def version_on(runtime: str) -> str:
    """As it was installed on the boards."""
    from importlib.metadata import PathDistribution

    from tests.boards.root import board_root

    distribution = {"litert": "ai_edge_litert"}.get(runtime, runtime)
    (found,) = (board_root() / SITE).glob(f"{distribution}-*.dist-info")
    return PathDistribution(found).version


def test_a_killed_run_goes_on(board: Board, tmp_path: Path) -> None:
    arguments = ("profile", *SMALL, "profiling.rounds=6", "profiling.max_rounds=6", *board.arguments)
    command = [sys.executable, "-m", "hwnas.cli.main", *arguments, f"hydra.run.dir={tmp_path / 'run'}"]
    kept = tmp_path / "journal.jsonl"
    process = subprocess.Popen(command)
    try:
        while not kept.exists():
            assert process.poll() is None
            for journal in (tmp_path / "run").glob("*/.*.work/journal.jsonl"):
                os.link(journal, kept)  # which outlives the folder of work
            time.sleep(0.1)
        while kept.read_text().count('"sample"') < 60:
            assert process.poll() is None
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = kept.read_text()
    done = start_hwnas(*arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    after = kept.read_text()
    assert after.startswith(before[: before.rindex("\n") + 1])
    events = [json.loads(line) for line in after.splitlines()[1:]]
    taken = [(event["id"], event["round"]) for event in events if event["event"] == "sample"]
    taken = [one for one in taken if one[0] != "reference"]
    assert len(taken) == len(set(taken))
    result = result_of(tmp_path / "run")
    models = {name for name, _ in taken}
    assert len(models) == result["operators"] + result["measured_networks"]
    assert len(taken) == 6 * len(models)


@pytest.fixture(scope="module")
def exported(boards: tuple[Board, Board], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an export for the first board, with the latencies that it has there."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "nets.py").write_text(NETWORK)
    done = run_hwnas(
        "export", f"module={folder}/nets.py:make", "experiment=smoke", "formats=[onnx,tflite,tvm]",
        "precisions=[fp32,int8]", *FEW, *boards[0].arguments, f"hydra.run.dir={folder / 'run'}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "run"


def test_what_is_exported_for_a_board_is_measured_there(exported: Path) -> None:
    files = result_of(exported)["files"]
    assert {(one["format"], one["precision"]) for one in files} == {
        ("onnx", "fp32"), ("onnx", "int8"), ("tflite", "fp32"), ("tflite", "int8"), ("tvm", "fp32"),
    }  # fmt: skip
    for one in files:
        assert one["device"] == "emulated"
        assert one["latency_reason"] is None, one
        assert one["latency_ms"] > 0


@pytest.mark.parametrize("kind", ["onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8", "tvm-fp32"])
def test_a_bundle_is_good_on_a_board(exported: Path, board: Board, kind: str) -> None:
    """By what is in it, and by hwnas, which both say by how much the board's outputs differ from those here."""
    (bundle,) = exported.glob(f"deploy/*/*/{kind}")
    there = f"/root/{kind}"
    board.copy(bundle, there)
    assert "differs by" in board.say(f"cd / && python3 {there}/run.py --check 2>&1")
    verify = f"python3 -m hwnas.cli.main verify-bundle {there} verify.latency=false hydra.run.dir=/root/verified-{kind}"
    assert "good" in board.say(f"cd {HWNAS} && PYTHONPATH={HWNAS} {verify} 2>&1")
    written = json.loads((board.home / f"verified-{kind}" / "result.json").read_text())["result"]
    assert written["output_max_abs"] is not None
    assert np.isfinite(written["output_max_abs"])


@pytest.mark.parametrize("kind", ["onnx-int8", "tflite-fp32"])
def test_a_bundle_is_verified_here_and_measured_on_a_board(
    exported: Path, board: Board, tmp_path: Path, kind: str
) -> None:
    (bundle,) = exported.glob(f"deploy/*/*/{kind}")
    done = run_hwnas(
        "verify-bundle", bundle, *FEW, *board.arguments, "verify.latency_tolerance=1000", f"hydra.run.dir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    latency = result_of(tmp_path)["latency"]
    assert latency["device"] == "emulated"
    assert latency["latency_ms"] > 0


def test_an_illegal_instruction_of_a_runtime_names_board_runtime_and_step(board: Board, tmp_path: Path) -> None:
    """Zeros are no instruction of aarch64: what a wheel for a newer processor does."""
    module = tmp_path / "onnxruntime"
    module.mkdir()
    (module / "__init__.py").write_text(
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()\n"
    )
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nPYTHONPATH=/root/broken exec python3 "$@"\n')
    python.chmod(0o755)
    board.say("mkdir -p /root/broken")
    board.copy(module, "/root/broken/")
    board.copy(python, "/root/broken/python")
    done = run_hwnas(
        "profile", *SMALL, *board.arguments, "device.python=/root/broken/python", f"hydra.run.dir={tmp_path / 'run'}"
    )
    assert done.returncode == 1
    where = f"emulated (ssh {board.config().address}): the measuring process was killed by SIGILL while importing"
    assert f"{where} onnxruntime {version_on('onnxruntime')}" in done.stderr
    assert "built for another processor than the one there" in done.stderr
    assert done.stderr.count("\n") == 1


def test_two_boards_are_two(boards: tuple[Board, Board]) -> None:
    first, second = boards
    first.say("echo first > /root/which")
    assert not (second.home / "which").exists()
    assert first.config().address != second.config().address
    assert [one.say("uname -m; ls /sys").split() for one in boards] == [[MACHINE]] * 2


def test_two_boards_are_a_fleet(boards: tuple[Board, Board], tmp_path: Path) -> None:
    """Every operator is measured on one of them. Emulation's times differ by anything: nobody is left out for that."""
    units = [
        {"device": str(board.profile), **{key: getattr(board.config(), key) for key in
                                          ("address", "folder", "key_file", "known_hosts")}}
        for board in boards
    ]  # fmt: skip
    (tmp_path / "rack.yaml").write_text(json.dumps(units))  # JSON is YAML
    fleet = (f"fleet={tmp_path / 'rack.yaml'}", "fleet.tolerance=1000", "device.silence_s=300")
    done = run_hwnas("profile", *SMALL, "runtime=onnxruntime", *fleet, f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 0, done.stderr
    [table] = result_of(tmp_path / "profile")["tables"]
    shares = [unit["models"] for unit in table["units"]]
    assert sum(shares) == table["operators"] + table["measured_networks"]
    assert abs(shares[0] - shares[1]) <= 1
    facts = read_table(tmp_path / "profile" / table["file"]).provenance
    assert (facts["device"], facts["machine"]["machine"]) == ("emulated", MACHINE)
