"""`hwnas train`: a once-for-all supernet, or one network of its space."""

from __future__ import annotations

from pathlib import Path

from hwnas.cli.console import ConsoleReporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.train import Trained, train
from hwnas.report.predicted import is_imbalanced

__all__ = ["run"]

BALANCED = ("test, balanced", "held-out, balanced")
"""Columns of data whose classes differ in size, by threefold or more."""


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = ConsoleReporter()
    result = train(config, folder, reporter)
    if result is None:
        return  # one of several processes, and not the first: there is nothing to say
    balanced = is_imbalanced(result.data.get("images_by_class"))
    columns = ("subnet", "test images", "held-out images", *(BALANCED if balanced else ()))
    shown = 4 if balanced else 2
    rows = [
        (label, *("–" if share is None else f"{share:.4f}" for share in shares[:shown]))
        for label, shares in _accuracies(result).items()
    ]
    reporter.table("accuracy, weights as trained", columns, rows)
    reporter.say(f"checkpoint: {folder / result.checkpoint}")


def _accuracies(result: Trained) -> dict[str, tuple[float | None, ...]]:
    """What the table shows, by its label; of a network trained on also its former, and its int8 accuracies."""
    before = result.subnet.before if result.subnet else None
    scored = {
        "largest": result.largest,
        "smallest": result.smallest,
        "subnet": result.subnet,
        "as int8": result.subnet.int8 if result.subnet else None,
        "before": before,
        "before, as int8": before.int8 if before else None,
    }
    found: dict[str, tuple[float | None, ...]] = {
        label: (one.accuracy, one.held_out_accuracy, one.balanced_accuracy, one.held_out_balanced_accuracy)
        for label, one in scored.items()
        if one is not None
    }
    if random := result.random:
        found[f"mean of {random.subnets} random"] = (
            random.accuracy_mean, random.held_out_accuracy_mean,
            random.balanced_accuracy_mean, random.held_out_balanced_accuracy_mean,
        )  # fmt: skip
    return found
