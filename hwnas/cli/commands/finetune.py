"""`hwnas finetune`: each network that was chosen is trained on alone, from the supernet's weights."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.finetune import finetune

__all__ = ["run"]


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = finetune(config, folder, reporter)
    rows = [(one.id, f"{one.accuracy_inherited:.4f}", f"{one.accuracy_finetuned:.4f}") for one in result.selected]
    reporter.table("accuracy on held-out images", ("target", "weights of the supernet", "fine-tuned"), rows)
    reporter.say(f"result: {folder / 'result.json'}")
