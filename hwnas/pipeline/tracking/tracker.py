"""What a tracker is asked for, and which there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from hwnas.errors import MissingExtraError
from hwnas.pipeline.tracking.config import TrackingConfig

__all__ = ["FOLDER", "Row", "Tracker", "check_installed", "open_tracker"]

FOLDER = "tracking"
"""Of a run's folder: what was sent so far, and a tracker's files where there is no server."""

Row = tuple[int, Mapping[str, float]]
"""A point of curves: its step, and their values by name."""


class Tracker(Protocol):
    """A run in a tracker. Any method raises what the tracker's library raises where it does not answer."""

    id: str

    def settings(self, values: Mapping[str, str]) -> None:
        """Settings by their keys; those that are there already are changed."""
        ...

    def curves(self, name: str, rows: Sequence[Row]) -> None:
        """Points of the curves `name`, in the order of their steps."""
        ...

    def figures(self, values: Mapping[str, float]) -> None:
        """Results by name."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of results."""
        ...

    def files(self, step: str, files: Mapping[str, Path]) -> None:
        """All files of a finished step, by their paths below the run's folder."""
        ...

    def close(self, status: str) -> None:
        """`finished`, `failed` or `killed`: nothing more comes from this process."""
        ...


def check_installed(config: TrackingConfig) -> None:
    """Raises MissingExtraError where the tracker's library is not there."""
    if find_spec(config.tracker) is None:
        raise MissingExtraError(config.tracker, config.tracker, f"tracking={config.tracker}")


def open_tracker(config: TrackingConfig, folder: Path, run_id: str | None, name: str) -> Tracker:
    """The run `run_id` of the tracker, or a new one called `name`. `folder` is for files where there is no server."""
    if config.tracker == "mlflow":
        from hwnas.pipeline.tracking.in_mlflow import MlflowRun

        return MlflowRun(config, folder, run_id, name)
    from hwnas.pipeline.tracking.in_wandb import WandbRun

    return WandbRun(config, folder, run_id, name)
