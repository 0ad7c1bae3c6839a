"""`hwnas finetune`: each network that was chosen is trained on alone, from the supernet's weights.

A target has a folder of its own, with a training as `hwnas train` writes it; targets of one network share the first
one's. `result.json` is the search's `selected`, each entry with the `checkpoint` that has its weights.
"""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import Reporter
from hwnas.errors import ConfigError
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.finetune import finetune
from hwnas.training.torchrun import process_counts

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    if not config.finetune.epochs:
        raise ConfigError("finetune.epochs: expected how long each network is trained on, got 0; try finetune.epochs=3")
    if process_counts()[1] > 1:
        raise ConfigError("torchrun is for hwnas train alone; hwnas finetune trains small networks, one after another")
    reporter = Reporter()
    result = finetune(config, folder, reporter)
    rows = [
        (entry["id"], *(f"{entry[key]:.4f}" for key in ("accuracy_inherited", "accuracy_finetuned")))
        for entry in result["selected"]
    ]
    reporter.table("accuracy on held-out images", ("target", "weights of the supernet", "fine-tuned"), rows)
    reporter.say(f"result: {folder / 'result.json'}")
