"""A run in Weights & Biases: on its server, or in files that `wandb sync` uploads later."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.tracker import Row

__all__ = ["WandbRun"]

_IMAGES = (".png", ".jpg")
_RETRIES = 1
_RETRY_S = 1.0


class WandbRun:
    """One run. Offline, each process that goes on with it writes a folder of its own with the same run's id."""

    def __init__(self, config: TrackingConfig, folder: Path, run_id: str | None, name: str) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        # Copies of what is uploaded, which are else in the user's home folder.
        os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        wandb.setup(wandb.Settings(silent=True))
        settings = wandb.Settings(
            **({"base_url": config.uri} if config.uri else {}),
            console="off",
            silent=True,
            disable_git=True,
            save_code=False,
            x_disable_stats=True,  # of the machine, which are taken all the time: also while latencies are measured
            init_timeout=2 * config.timeout_s,
            finish_timeout=2 * config.timeout_s,
            finish_timeout_raises=True,
            **_limits(config.timeout_s),
        )
        self._wandb = wandb
        # W&B names its folders by second and run, and would write into that of a command which has just ended.
        while run_id and list((folder / "wandb").glob(f"*run-{datetime.now():%Y%m%d_%H%M%S}-{run_id}")):
            time.sleep(0.1)
        self._run: Any = wandb.init(
            project=config.project,
            name=name,
            id=run_id,
            resume="allow",
            dir=str(folder),
            mode=_mode(config),
            reinit="create_new",
            settings=settings,
        )
        self.id: str = self._run.id
        self._curves: set[str] = set()

    def settings(self, values: Mapping[str, str]) -> None:
        """As the run's config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def curves(self, name: str, rows: Sequence[Row]) -> None:
        """As `name/…` over `name/step`."""
        if name not in self._curves:
            self._run.define_metric(f"{name}/step")
            self._run.define_metric(f"{name}/*", step_metric=f"{name}/step")
            self._curves.add(name)
        for step, values in rows:
            self._run.log({f"{name}/step": step, **{f"{name}/{key}": value for key, value in values.items()}})

    def figures(self, values: Mapping[str, float]) -> None:
        """As the run's summary."""
        self._run.summary.update(dict(values))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """As a table of W&B's."""
        table = self._wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)
        self._run.log({f"tables/{name}": table})

    def files(self, step: str, files: Mapping[str, Path]) -> None:
        """As an artefact of the run, a new version each time; pictures among its media as well."""
        name = re.sub(r"[^\w.-]", "-", step)
        artifact = self._wandb.Artifact(f"{self.id}-{name}", type="model" if step == "export" else "result")
        for path, file in files.items():
            # A step's files are not written a second time: no copy is needed until they are uploaded.
            artifact.add_file(str(file), path, skip_cache=True, policy="immutable")
        plots = {
            f"plots/{path.rpartition('.')[0]}": self._wandb.Image(str(file))
            for path, file in files.items()
            if step == "report" and path.endswith(_IMAGES)
        }
        if plots:
            self._run.log(plots)
        self._run.log_artifact(artifact)

    def close(self, status: str) -> None:
        """Waits for what is still to be uploaded, as long as it may take."""
        self._run.finish(exit_code={"finished": 0, "failed": 1}.get(status, 255))


def _mode(config: TrackingConfig) -> Any:  # one of W&B's literals
    if config.mode != "auto":
        return config.mode
    import wandb
    from wandb.sdk.lib.wbauth import read_netrc_auth

    if given := os.environ.get("WANDB_MODE"):
        return given
    settings = wandb.setup().settings
    key = (
        os.environ.get("WANDB_API_KEY")
        or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
        or settings.api_key
        or read_netrc_auth(host=config.uri or settings.base_url)
    )
    return "online" if key else "offline"


def _limits(timeout_s: float) -> dict[str, Any]:
    """Of each kind of request."""
    limits: dict[str, Any] = {}
    for kind in ("file_stream", "file_transfer", "graphql"):
        limits[f"x_{kind}_retry_max"] = _RETRIES
        limits[f"x_{kind}_retry_wait_min_seconds"] = _RETRY_S
        limits[f"x_{kind}_retry_wait_max_seconds"] = _RETRY_S
        limits[f"x_{kind}_timeout_seconds"] = timeout_s
    return limits
