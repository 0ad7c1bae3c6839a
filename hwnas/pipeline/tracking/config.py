"""Whether a run is followed by a tracker, and by which."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwnas.errors import ConfigError, choices

__all__ = ["TRACKERS", "TrackingConfig"]

TRACKERS = ("none", "mlflow", "wandb")
MODES = ("auto", "online", "offline")
_SERVERS = ("http", "https")
_SCHEMES = {
    "mlflow": (*_SERVERS, "file", "sqlite", "postgresql", "mysql", "mssql", "databricks"),
    "wandb": _SERVERS,
}


@dataclass(frozen=True)
class TrackingConfig:
    """`tracker` (`none`, `mlflow` or `wandb`) gets what a run writes, too. No result depends on it.

    `project`: MLflow's experiment, W&B's project. `uri`: a server, or for MLflow a folder or database as well; None:
    what the tracker's own variable names, else the run's folder. `mode`, for W&B: `online`, `offline`, or `auto`, which
    is online where there is an API key. `files`: whether files go there, or settings, curves, figures and tables alone.
    `timeout_s`: seconds that the tracker may take for an answer, before the run goes on without it.
    """

    tracker: str = "none"
    project: str = "hwnas"
    uri: str | None = None
    mode: str = "auto"
    files: bool = True
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.tracker not in TRACKERS:
            raise ConfigError(f"tracking.tracker={self.tracker}: {choices(self.tracker, TRACKERS)}")
        if self.mode not in MODES:
            raise ConfigError(f"tracking.mode={self.mode}: {choices(self.mode, MODES)}")
        if not self.project.strip() or "/" in self.project:
            raise ConfigError(f"tracking.project: expected a name without slashes, got {self.project!r}")
        if not 0 < self.timeout_s < math.inf:
            raise ConfigError(f"tracking.timeout_s: expected seconds above 0, got {self.timeout_s:g}")
        scheme, found, rest = (self.uri or "").partition("://")
        schemes = _SCHEMES.get(self.tracker, ())
        if self.uri is not None and schemes and (not rest or scheme.partition("+")[0] not in schemes):
            is_path = self.tracker == "mlflow" and not found and bool(self.uri.strip()) and ":" not in self.uri
            if not is_path and self.uri != "databricks":
                example = "http://127.0.0.1:5000" if self.tracker == "mlflow" else "https://wandb.example.org"
                raise ConfigError(
                    f"tracking.uri={self.uri}: expected an address such as {example}, which begins with"
                    f" {', '.join(f'{one}://' for one in schemes)}"
                )
