"""`hwnas train`: a once-for-all supernet."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.inputs import data_inputs, load_images, resolve_space
from hwnas.cli.steps import run_step
from hwnas.progress import no_progress

__all__ = ["CHECKPOINT", "run", "step"]

CHECKPOINT = "supernet.safetensors"


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    rows = [(name, f"{result[name]['accuracy']:.4f}") for name in ("largest", "smallest")]
    reporter.table("held-out accuracy, weights as inherited", ("subnet", "accuracy"), rows)
    reporter.say(f"supernet: {folder / CHECKPOINT}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The training's result, made or read (see `hwnas.cli.steps`)."""
    space = resolve_space(config)
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.data_config),
        "training": to_plain(config.training),
    }

    def work() -> dict[str, Any]:
        from hwnas.training.engine import train

        phases = " → ".join(phase.name for phase in config.training.phases)
        with reporter.step(f"train: supernet {space.name} on {config.data_config.name}, {phases}") as progress:
            data = load_images(config, space, no_progress)
            started = time.monotonic()
            trained = train(config.training, space, data, folder, config.seed, progress)
        last = [row for row in trained.history if row["event"] == "phase_end"][-1]
        speeds = [row["images_per_s"] for row in trained.history if row["event"] == "steps"]
        return {
            "checkpoint": CHECKPOINT,
            "largest": {"accuracy": last["largest_accuracy"]},
            "smallest": {"accuracy": last["smallest_accuracy"]},
            "images_per_s": sum(speeds) / max(len(speeds), 1),
            "train_s": round(time.monotonic() - started, 1),
            "parameters": int(space.parameters(space.extreme(True)[None])[0]),
            "subnets": space.size,
            "data": data.summary(),
            "space": space.config(),
            "history": trained.history,
        }

    return run_step("train", folder, inputs, config.seed, work, reporter.say)
