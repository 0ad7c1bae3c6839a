"""`hwnas profile` on several devices at once, over real connections to this machine."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hwnas.latency.tables.table import read_table
from tests.devices.servers import Sshd, lacking, rpc_server, small_disk, sshd
from tests.running import run_here, run_hwnas

needs_ssh = pytest.mark.skipif(lacking("ssh") is not None, reason=str(lacking("ssh")))
FEW = (
    "experiment=smoke", "runtime=onnxruntime", "space.depths=[1]", "space.expand_ratios=[3]", "profiling.networks=0",
    "profiling.rounds=2", "profiling.max_rounds=2", "profiling.slice_ms=0.2", "profiling.warm_up_ms=1",
    "profiling.reference_copies=1",
)  # fmt: skip
TINY = (*FEW, "space.kernel_sizes=[3,5]")
COMMON = (*FEW, "space.kernel_sizes=[3]", "space.resolution=[16]")
"""Eight operators: units measure them together, and nothing is left to divide."""


@pytest.fixture(scope="module")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Sshd]]:
    folder = tmp_path_factory.mktemp("rack")
    with ExitStack() as running:
        yield [running.enter_context(sshd(folder / f"board{number}")) for number in range(3)]


def entry(board: Sshd, **changes: str) -> dict[str, str]:
    config = board.config()
    values = {
        "device": "local", "transport": "ssh", "address": str(config.address), "folder": str(config.folder),
        "python": sys.executable, "key_file": str(config.key_file), "known_hosts": str(config.known_hosts),
    }  # fmt: skip
    return {**values, **changes}


def slow_python(folder: Path, times: int) -> Path:
    """An interpreter on a machine that is `times` as slow, by its own clock."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        f"import time\nns = time.perf_counter_ns\ntime.perf_counter_ns = lambda: {times} * ns()\n"
    )
    path = folder / "python3"
    path.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def written(path: Path, units: list[dict[str, str]]) -> Path:
    path.write_text(json.dumps(units))  # JSON is YAML
    return path


def profiled(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())["result"]
    return result


@needs_ssh
def test_units_share_a_table_and_one_that_differs_is_left_out(boards: list[Sshd], tmp_path: Path) -> None:
    slow = str(slow_python(tmp_path / "slow", 20))
    fleet = written(tmp_path / "rack.yaml", [entry(boards[0]), entry(boards[1], python=slow), entry(boards[2])])
    # Three at once on this machine disturb each other: what is looked for is 20 times off.
    command = ("profile", *TINY, f"fleet={fleet}", "fleet.tolerance=4", f"hydra.run.dir={tmp_path / 'profile'}")
    done = run_hwnas(*command)
    assert done.returncode == 0, done.stderr
    [table] = profiled(tmp_path / "profile")["tables"]
    units = {unit["unit"].rpartition(":")[2]: unit for unit in table["units"]}
    ports = [str(board.port) for board in boards]
    assert [units[port]["models"] > 0 for port in ports] == [True, False, True]
    assert units[ports[1]]["left_out"].startswith("common models take ")
    assert f"{ports[1]} is left out: common models take" in done.stdout
    assert sum(unit["models"] for unit in units.values()) == table["operators"]
    made = read_table(tmp_path / "profile" / table["file"])
    assert len(made.operators.operators) == table["operators"]
    assert (made.operators.median_ms > 0).all()
    assert not list((tmp_path / "profile").glob(".models"))
    assert "up to date" in run_hwnas(*command).stdout


@needs_ssh
def test_thread_counts_of_several_devices_share_their_models(boards: list[Sshd], tmp_path: Path) -> None:
    other = tmp_path / "board.yaml"
    other.write_text("name: board\ndescription: this machine\ntransport: ssh\nruntimes: {onnxruntime: [fp32]}\n")
    fleet = written(tmp_path / "rack.yaml", [entry(boards[0]), entry(boards[1], device=str(other))])
    done = run_hwnas("profile", *COMMON, f"fleet={fleet}", "threads=[1,2]", f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 0, done.stderr
    tables = profiled(tmp_path / "profile")["tables"]
    assert [(table["device"], table["threads"]) for table in tables] == [
        ("local", 1), ("board", 1), ("local", 2), ("board", 2),
    ]  # fmt: skip
    for table in tables:
        assert (tmp_path / "profile" / table["file"]).is_file()


@needs_ssh
def test_units_that_are_not_there_or_full_are_left_out(boards: list[Sshd], tmp_path: Path) -> None:
    full = boards[1].home / "full"
    units = [entry(boards[0]), entry(boards[1], folder=str(full)), entry(boards[2], address="127.0.0.1:1")]
    fleet = written(tmp_path / "rack.yaml", units)
    with small_disk(full, "100k"):
        done = run_hwnas("profile", *COMMON, f"fleet={fleet}", f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 0, done.stderr
    said = {line.partition(" is left out: ")[0].rpartition(":")[2]: line for line in done.stdout.splitlines()}
    assert "is full there" in said[str(boards[1].port)]
    assert "does not answer" in said["1"]
    [table] = profiled(tmp_path / "profile")["tables"]
    assert [unit["models"] for unit in table["units"]] == [table["operators"], 0, 0]


@needs_ssh
@pytest.mark.slow
def test_a_node_that_leaves_takes_its_unit_along(boards: list[Sshd], tmp_path: Path) -> None:
    """Devices hang on nodes of a cluster; the table is whole without the node that is gone."""
    utilities = pytest.importorskip("ray.cluster_utils", reason="ray is not installed: pip install 'hwnas[ray]'")
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = utilities.Cluster(initialize_head=True, head_node_args={**node, "resources": {"rack1": 1}})
    try:
        second = cluster.add_node(**node, resources={"rack2": 1})
        hosts = [entry(boards[0], host="rack1"), entry(boards[1], host="rack2")]
        rounds = ("profiling.rounds=60", "profiling.max_rounds=60")
        command = [
            sys.executable, "-m", "hwnas.cli.main", "profile", *TINY, *rounds, "fleet.tolerance=9", "executor=ray",
            f"executor.address={cluster.address}", f"fleet={written(tmp_path / 'rack.yaml', hosts)}",
            f"hydra.run.dir={tmp_path / 'profile'}",
        ]  # fmt: skip
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size > 10_000 for path in journals(tmp_path)[1:]):
            assert time.monotonic() < deadline
            assert running.poll() is None, running.communicate()
            time.sleep(0.2)
        cluster.remove_node(second, allow_graceful=False)
        printed, errors = running.communicate(timeout=300)
        assert running.returncode == 0, errors
        assert "is left out: profile: rack2 is no longer a node of the cluster" in printed
        [table] = profiled(tmp_path / "profile")["tables"]
        assert sum(unit["models"] for unit in table["units"]) == table["operators"]
        nobody = written(tmp_path / "other.yaml", [entry(boards[0], host="rack3")])
        done = run_hwnas(*command[3:-2], f"fleet={nobody}", f"hydra.run.dir={tmp_path / 'other'}")
        assert "no node with the resource 'rack3': did you mean 'rack1'" in done.stderr
    finally:
        cluster.shutdown()


@pytest.mark.slow
def test_a_tracker_hands_out_its_boards(tmp_path: Path) -> None:
    """Two units of one address: each is a board of its own. What TVM compiles, two workers compile."""
    with rpc_server(servers=2) as address:
        units = [{"device": "local", "transport": "tvm_rpc", "address": address}] * 2
        fleet = written(tmp_path / "rack.yaml", units)
        tvm = ("runtime=tvm", "fleet.tolerance=9", f"fleet={fleet}", "executor.workers=2")
        done = run_hwnas("profile", *TINY, *tvm, f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 0, done.stderr
    [table] = profiled(tmp_path / "profile")["tables"]
    shares = [unit["models"] for unit in table["units"]]
    assert sum(shares) == table["operators"]
    assert abs(shares[0] - shares[1]) <= 1


def journals(folder: Path) -> list[Path]:
    return sorted(folder.rglob("units/*.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("device=[local,local]",), "devices: expected distinct names of devices, got local twice"),
        (
            ("device=[local,raspberry_pi_5]", "device.address=x"),
            "device.address, device.transport: of which of several",
        ),
        (("device=[local,moon]",), "no device profile 'moon'"),
        (("fleet=none.yaml",), "fleet=none.yaml: no such file"),
        (("threads=[1,1]",), "threads: expected distinct numbers of 1 or more, got [1, 1]"),
        (("fleet.tolerance=0",), "fleet.tolerance: expected a fraction above 0"),
    ],
)
def test_what_can_not_be_measured(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run_here("profile", *TINY, *arguments, f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("hwnas: error: ") == 1


def test_hosts_need_a_cluster(tmp_path: Path) -> None:
    units = [{"device": "local", "host": "rack1"}, {"device": "local", "host": "rack2"}]
    fleet = written(tmp_path / "rack.yaml", units)
    done = run_here("profile", *TINY, f"fleet={fleet}", f"hydra.run.dir={tmp_path / 'profile'}")
    assert done.returncode == 1
    assert "workers on rack1, rack2: only a cluster has hosts: give executor=ray" in done.stderr
