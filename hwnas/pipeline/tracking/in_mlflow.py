"""A run in MLflow: on a server, in a database, or in a folder."""

from __future__ import annotations

import csv
import io
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.tracker import Row

__all__ = ["MlflowRun", "store_uri"]

_METRICS, _PARAMS = 1000, 100  # of one request
_NAME, _VALUE = 250, 6000  # characters
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}


class MlflowRun:
    """One run, by MLflow's client. `folder` gets a database and the files where no other place is named."""

    def __init__(self, config: TrackingConfig, folder: Path, run_id: str | None, name: str) -> None:
        _set_limits(config)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from mlflow.utils.logging_utils import disable_logging

        disable_logging()
        folder.mkdir(parents=True, exist_ok=True)
        uri = store_uri(config, folder)
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._experiment(config.project, uri)
        found = None
        if run_id is not None:
            try:
                found = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        if found is None or found.info.lifecycle_stage != "active":
            found = self._client.create_run(experiment, run_name=name)
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
        self.id: str = found.info.run_id
        self._params: dict[str, str] = dict(found.data.params)

    def settings(self, values: Mapping[str, str]) -> None:
        """As parameters. Those don't change in MLflow: what has another value is a tag of the same name beside it."""
        from mlflow.entities import Param, RunTag

        wanted = {_name(key): value[:_VALUE] or '""' for key, value in values.items()}
        new = [Param(key, value) for key, value in wanted.items() if key not in self._params]
        changed = [RunTag(key, value) for key, value in wanted.items() if self._params.get(key, value) != value]
        for params in _batches(new, _PARAMS):
            self._client.log_batch(self.id, params=params)
        for tags in _batches(changed, _PARAMS):
            self._client.log_batch(self.id, tags=tags)
        self._params = {**wanted, **self._params}

    def curves(self, name: str, rows: Sequence[Row]) -> None:
        """As metrics `name/…` by step."""
        self._metrics([(f"{name}/{key}", value, step) for step, row in rows for key, value in row.items()])

    def figures(self, values: Mapping[str, float]) -> None:
        """As metrics without a course."""
        self._metrics([(key, value, 0) for key, value in values.items()])

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """As a CSV file, which MLflow shows as a table."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        self._client.log_text(self.id, text.getvalue(), f"tables/{_name(name)}.csv")

    def files(self, step: str, files: Mapping[str, Path]) -> None:  # noqa: ARG002
        """Under the same paths as below the run's folder."""
        for name, path in files.items():
            where = PurePosixPath(name).parent.as_posix()
            self._client.log_artifact(self.id, str(path), None if where == "." else where)

    def close(self, status: str) -> None:
        """Also the last that is heard of the run where the process was killed."""
        self._client.set_terminated(self.id, _STATUS[status])

    def _metrics(self, values: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        for batch in _batches([Metric(_name(key), value, now_ms, step) for key, value, step in values], _METRICS):
            self._client.log_batch(self.id, metrics=batch)

    def _experiment(self, project: str, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(project)
        if found is None:
            path = uri.removeprefix("sqlite:///")
            place = (Path(path).absolute().parent / "mlartifacts").as_uri() if path != uri else None
            try:
                created: str = self._client.create_experiment(project, place)
                return created
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run made it meanwhile
                    raise
                found = self._client.get_experiment_by_name(project)
        known: str = found.experiment_id
        return known


def store_uri(config: TrackingConfig, folder: Path) -> str:
    """Where MLflow keeps its runs."""
    given = config.uri or os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{(folder / 'mlflow.db').absolute()}"


def _set_limits(config: TrackingConfig) -> None:
    """By MLflow's own variables; what a user set stays."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(math.ceil(config.timeout_s)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_ALLOW_FILE_STORE": "true",  # a folder is only taken where it is asked for
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        os.environ.setdefault(name, value)


def _name(key: str) -> str:
    return re.sub(r"[^\w\-. /]", "_", key)[:_NAME]


def _batches(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
