"""A run's folder as steps write it, and a step that is followed while it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hwnas.files import write_json
from hwnas.pipeline.tracking.config import TrackingConfig
from hwnas.pipeline.tracking.follow import tracked

__all__ = ["HEADER", "followed", "row", "train"]

HEADER = "event,phase,step,epoch,elapsed_s,left_s,learning_rate,loss,largest_accuracy\n"
SETTINGS = {"seed": 0, "training": {"batch_size": 64, "phases": [{"name": "all"}]}, "checkpoint": None}


def row(step: int, event: str = "steps", loss: float | str = "", accuracy: float | str = "") -> str:
    """A line of `training.csv`."""
    return f"{event},all,{step},{step / 10},{step}.0,1.0,0.1,{loss},{accuracy}\n"


def train(folder: Path, rows: str = row(1, loss=2.0) + row(2, loss=1.5), seed: int = 0) -> None:
    """What a training leaves in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "inputs.json", {"seed": seed})
    (folder / "training.csv").write_text(HEADER + rows)
    (folder / "supernet.safetensors").write_bytes(b"weights")
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "step-1.safetensors").write_bytes(b"more")
    result = {
        "largest": {"accuracy": 0.5, "held_out_accuracy": 0.25}, "space": {"name": "x", "width_mult": 1.0},
        "targets": [{"id": "a-1.5ms", "measured_ms": 1.25, "file": "a.onnx", "arch": {"ks": [3]}}],
    }  # fmt: skip
    write_json(folder / "result.json", {"command": "train", "elapsed_s": 3.5, "result": result})


@contextmanager
def followed(
    folder: Path, config: TrackingConfig, command: str = "train", settings: Mapping[str, Any] = SETTINGS
) -> Iterator[list[str]]:
    """Yields what is said."""
    said: list[str] = []
    with tracked(config, command, folder, settings, said.append):
        yield said
