"""What MLflow has of a run, read back by its own client; and a server that is gone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from hwnas.pipeline.tracking.config import TrackingConfig
from tests.pipeline.tracking import runs
from tests.running import run_hwnas

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Not imported before it is needed: that takes seconds, in each process that collects tests.
pytestmark = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'hwnas[mlflow]'"
)
CONFIG = TrackingConfig("mlflow", timeout_s=2.0)


@pytest.fixture(autouse=True)
def _no_store_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: MLflow takes seconds to make one."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    client_of(f"sqlite:///{path}").search_experiments()
    return path


def keep_in(run: Path, database: Path) -> None:
    """A copy of the store, where `run` has its own."""
    (run / "tracking").mkdir()
    shutil.copy(database, run / "tracking")


@pytest.fixture(autouse=True)
def _store_of_the_folder(tmp_path: Path, database: Path) -> None:
    keep_in(tmp_path, database)


def client_of(uri: object) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(str(uri))


def store(run: Path) -> MlflowClient:
    return client_of(f"sqlite:///{run / 'tracking' / 'mlflow.db'}")


def tracked_runs(client: MlflowClient, project: str = "hwnas") -> list[Any]:
    found = client.get_experiment_by_name(project)
    return [] if found is None else list(client.search_runs([found.experiment_id], order_by=["attributes.start_time"]))


def artifacts(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for one in client.list_artifacts(run_id, folder):
        found |= artifacts(client, run_id, one.path) if one.is_dir else {one.path}
    return found


def curve(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((one.step, one.value) for one in client.get_metric_history(run_id, name))


def test_a_run_is_what_its_folder_holds(tmp_path: Path) -> None:
    """In a store that is made for it."""
    with runs.followed(tmp_path / "mine" / "train", CONFIG) as said:
        runs.train(tmp_path / "mine" / "train")
    assert said == []
    client = store(tmp_path / "mine")
    (run,) = tracked_runs(client)
    assert run.info.run_name == "mine"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "seed": "0", "training.batch_size": "64", "training.phases": '[{"name": "all"}]', "checkpoint": "null",
    }  # fmt: skip
    assert curve(client, run.info.run_id, "train/loss") == [(1, 2.0), (2, 1.5)]
    assert run.data.metrics["train.largest.held_out_accuracy"] == 0.25
    assert artifacts(client, run.info.run_id) == {
        "tables/train.targets.csv", "train/inputs.json", "train/result.json", "train/supernet.safetensors",
        "train/training.csv",
    }  # fmt: skip
    path = client.download_artifacts(run.info.run_id, "tables/train.targets.csv", str(tmp_path))
    assert Path(path).read_text() == "id,measured_ms,file\na-1.5ms,1.25,a.onnx\n"


def test_rows_are_sent_while_they_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    with runs.followed(folder, CONFIG):
        runs.train(folder)
        (folder / "result.json").unlink()
        deadline = time.monotonic() + 20
        while not tracked_runs(store(tmp_path)) or len(tracked_runs(store(tmp_path))[0].data.metrics) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        (run,) = tracked_runs(store(tmp_path))
        assert run.info.status == "RUNNING"


def test_the_commands_of_one_folder_are_one_run(tmp_path: Path) -> None:
    config = replace(CONFIG, files=False)
    for command in ("train", "evaluate", "train"):
        with runs.followed(tmp_path / command, config, command, {"seed": 0, command: {"key": 1}}):
            if command == "evaluate":
                runs.train(tmp_path / command)
            elif not (tmp_path / "train").exists():  # it was killed at step 2, with a checkpoint at step 1
                runs.train(tmp_path / "train")
                (tmp_path / "train" / "result.json").unlink()
            else:
                rows = runs.row(1, loss=2.0) + runs.row(2, loss=1.5) + runs.row(3, loss=1.0)
                runs.train(tmp_path / "train", rows + runs.row(3, "phase_end", accuracy=0.75))
    (run,) = tracked_runs(store(tmp_path))
    assert set(run.data.params) == {"seed", "train.key", "evaluate.key"}
    history = store(tmp_path).get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in history] == [(1, 2.0), (2, 1.5), (3, 1.0)]
    assert curve(store(tmp_path), run.info.run_id, "train/largest_accuracy") == [(3, 0.75)]


def test_other_inputs_are_another_run_and_other_settings_a_tag(tmp_path: Path) -> None:
    config = replace(CONFIG, files=False)
    for workers, seed, loss in ((1, 0, 2.0), (2, 0, 2.0), (2, 1, 1.0)):
        with runs.followed(tmp_path / "train", config, settings={"seed": seed, "workers": workers}):
            runs.train(tmp_path / "train", runs.row(1, loss=loss), seed=seed)
    first, second = tracked_runs(store(tmp_path))
    assert first.data.params == {"seed": "0", "workers": "1"}
    assert first.data.tags["workers"] == "2"
    assert second.data.params == {"seed": "1", "workers": "2"}
    assert second.data.metrics["train/loss"] == 1.0


def test_a_run_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    known = tmp_path / "tracking" / "mlflow.json"
    for _ in range(3):
        with runs.followed(tmp_path / "train", replace(CONFIG, files=False)) as said:
            runs.train(tmp_path / "train")
        assert said == []
        (run,) = tracked_runs(store(tmp_path))
        assert run.data.params["seed"] == "0"
        assert run.data.metrics["train/loss"] == 1.5
        store(tmp_path).delete_run(run.info.run_id)
    runs.train(tmp_path / "train", seed=1)
    known.write_text(known.read_text().replace(run.info.run_id, "0" * 32))  # of another store
    with runs.followed(tmp_path / "train", replace(CONFIG, files=False)) as said:
        pass
    assert said == []
    assert len(tracked_runs(store(tmp_path))) == 1


def test_a_step_that_fails_is_a_failed_run(tmp_path: Path) -> None:
    def fail(error: type[BaseException], rows: str) -> None:
        with runs.followed(tmp_path / "train", replace(CONFIG, files=False)):
            runs.train(tmp_path / "train", rows)
            (tmp_path / "train" / "result.json").unlink()
            raise error

    rows = ""
    for step, error, status in ((1, ZeroDivisionError, "FAILED"), (2, KeyboardInterrupt, "KILLED")):
        rows += runs.row(step, loss=0.5 * step)
        with pytest.raises(error):
            fail(error, rows)
        (run,) = tracked_runs(store(tmp_path))
        assert run.info.status == status
        assert run.data.metrics["train/loss"] == 0.5 * step


def test_a_folder_may_hold_many_runs(tmp_path: Path) -> None:
    config = replace(CONFIG, uri=str(tmp_path / "all"), project="flowers")
    for name in ("one", "two"):
        with runs.followed(tmp_path / name / "multirun" / "seed=0" / "train", config) as said:
            runs.train(tmp_path / name / "multirun" / "seed=0" / "train")
        assert said == []
    found = tracked_runs(client_of(tmp_path / "all"), "flowers")
    assert {run.info.run_name for run in found} == {"one/seed=0", "two/seed=0"}


# ---- outages -------------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    return port


def test_no_server_is_said_in_one_line(tmp_path: Path) -> None:
    config = replace(CONFIG, uri=f"http://127.0.0.1:{closed_port()}")
    began = time.monotonic()
    with runs.followed(tmp_path / "train", config) as said:
        runs.train(tmp_path / "train")
    assert time.monotonic() - began < 15
    assert len(said) == 1
    assert "\n" not in said[0]
    assert said[0].startswith("tracking=mlflow: given up (")
    # What was not sent is sent by the next command.
    with runs.followed(tmp_path / "train", replace(config, uri=None)) as said:
        pass
    assert said == []
    assert tracked_runs(store(tmp_path))[0].data.metrics["train/loss"] == 1.5


def test_a_server_that_never_answers_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = replace(CONFIG, uri=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.5)
        began = time.monotonic()
        with runs.followed(tmp_path / "train", config) as said:
            runs.train(tmp_path / "train")
    assert time.monotonic() - began < 10
    assert len(said) == 1


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """MLflow's own, in a process group that can be killed."""
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "files"),
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        (folder / "server.log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            start_new_session=True,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                    break
                except OSError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    port = closed_port()
    config = replace(CONFIG, uri=f"http://127.0.0.1:{port}")
    with server(tmp_path, port):
        with runs.followed(tmp_path / "mine" / "train", config) as said:
            runs.train(tmp_path / "mine" / "train")
        assert said == []
    with runs.followed(tmp_path / "mine" / "evaluate", config, "evaluate") as said:
        runs.train(tmp_path / "mine" / "evaluate")
    assert len(said) == 1
    with server(tmp_path, port):
        with runs.followed(tmp_path / "mine" / "evaluate", config, "evaluate") as said:
            pass
        assert said == []
        (run,) = tracked_runs(client_of(config.uri))
        assert run.data.metrics["train/loss"] == run.data.metrics["evaluate/loss"] == 1.5
        found = artifacts(client_of(config.uri), run.info.run_id)
        assert {"train/supernet.safetensors", "evaluate/supernet.safetensors"} <= found


# ---- commands ------------------------------------------------------------------------------------------------------


def test_a_finished_run_stays_as_it_is_and_is_sent(smoke: Path, database: Path) -> None:
    keep_in(smoke, database)
    before = {path: path.read_bytes() for path in smoke.rglob("*.json")}
    for _ in range(2):
        done = run_hwnas("run", "experiment=smoke", f"hydra.run.dir={smoke}", "tracking=mlflow")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.count("up to date") >= 7
        assert "given up" not in done.stdout
    assert {path: path.read_bytes() for path in before} == before
    assert not (smoke / "superseded").exists()
    client = store(smoke)
    (run,) = tracked_runs(client)
    assert run.info.status == "FINISHED"
    assert run.data.params["search.method"]
    assert run.data.params["training.batch_size"]
    losses = curve(client, run.info.run_id, "train/loss")
    assert len(losses) == len(set(losses)) > 1
    assert run.data.metrics["train.largest.held_out_accuracy"] > 0
    assert any(name.startswith("validate.targets.") and name.endswith(".measured_ms") for name in run.data.metrics)
    found = artifacts(client, run.info.run_id)
    assert {"report/report.html", "train/supernet.safetensors", "tables/validate.targets.csv", "result.json"} <= found
    assert any(path.endswith("/manifest.json") and path.startswith("export/") for path in found)
    assert any(path.endswith(".png") and path.startswith("report/") for path in found)
    assert not [path for path in found if "checkpoints" in path or "superseded" in path]
