"""`hwnas train`: a once-for-all supernet, or one network of its space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.cli.console import Reporter
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.train import train

if TYPE_CHECKING:
    pass


__all__ = ["run"]

SCORED = ("largest", "smallest", "random", "subnet")


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = train(config, folder, reporter)
    if not result:
        return  # one of several processes, and not the first: there is nothing to say
    rows = []
    for name, for_one in _scored_rows(result).items():
        key = "accuracy_mean" if name == "random" else "accuracy"
        label = f"mean of {for_one['subnets']} random" if name == "random" else name
        rows.append((label, f"{for_one[key]:.4f}", f"{for_one[f'held_out_{key}']:.4f}"))
    reporter.table("accuracy, weights as trained", ("subnet", "test images", "held-out images"), rows)
    reporter.say(f"checkpoint: {folder / result['checkpoint']}")


def _scored_rows(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the table shows, by its label; of a network trained on also its former, and its int8 accuracies."""
    rows = {name: result[name] for name in SCORED if name in result}
    before = rows.get("subnet", {}).get("before", {})
    found = {"as int8": rows.get("subnet", {}).get("int8"), "before": before, "before, as int8": before.get("int8")}
    return rows | {label: one for label, one in found.items() if one}
