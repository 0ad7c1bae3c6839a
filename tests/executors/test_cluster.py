"""A Ray cluster of several nodes, on the loopback interface of this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hwnas.errors import ExecutorError
from hwnas.executors import on_ray
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from tests.executors import work

pytestmark = pytest.mark.slow

NODE: dict[str, Any] = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster() -> Iterator[Any]:
    utilities = pytest.importorskip("ray.cluster_utils", reason="ray is not installed: pip install 'hwnas[ray]'")
    made = utilities.Cluster(initialize_head=True, head_node_args=NODE)
    yield made
    made.shutdown()


def test_a_node_that_goes_takes_nothing_along(cluster: Any) -> None:
    other = cluster.add_node(**NODE)
    with open_executor(ExecutorConfig("ray", address=cluster.address)) as executor:
        assert executor.workers == 2
        found = {}
        for done, (number, result) in enumerate(executor.each("where", work.where, range(60))):
            found[number] = result
            if done == 10:
                cluster.remove_node(other, allow_graceful=False)
    assert sorted(found) == list(range(60))
    with open_executor(ExecutorConfig("ray", 1, cluster.address)) as executor:  # it stays when the work is done
        assert dict(executor.each("squares", work.squared, range(3))) == {0: 0, 1: 1, 2: 4}


def test_nodes_with_another_version(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another than the command's: workers on this machine find the hwnas that it imports."""
    monkeypatch.setattr(on_ray, "__version__", "99.0")
    began = time.monotonic()
    with pytest.raises(ExecutorError, match=r"^executor=ray: hwnas is \S+ on .*, expected 99\.0 as here: install that"):
        open_executor(ExecutorConfig("ray", address=cluster.address))
    assert time.monotonic() - began < 30


def test_a_folder_that_nodes_do_not_share(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is gone for the workers as it is on a machine without it."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setattr(os, "getcwd", lambda: str(gone / "elsewhere"))
    with pytest.raises(ExecutorError, match=r"has no folder .*elsewhere: expected one file system"):
        open_executor(ExecutorConfig("ray", address=cluster.address))
