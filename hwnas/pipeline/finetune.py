"""Each network that was chosen is trained on alone, from the supernet's weights.

A target has a folder of its own, with a training as `hwnas train` writes it; targets of one network share the first
one's. `result.json` is the search's `selected`, each entry with the `checkpoint` that has its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwnas.files import read_json, sha256_of_file, sha256_of_json
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import input_path, searched_networks, trained_checkpoint
from hwnas.pipeline.steps import read_result, write_result
from hwnas.pipeline.train import train
from hwnas.progress import SILENT, Reporter

__all__ = ["finetune"]


def finetune(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """What was chosen, with a `checkpoint` (a path below `folder`) and held-out accuracies, those of int8 for int8.

    A network that lost by it has no checkpoint: it keeps the supernet's weights. Raises StorageError where there is no
    search or no supernet.
    """
    supernet = trained_checkpoint(config, folder)
    searched = input_path(config.targets, folder, "search", "result.json", "targets")
    selected = searched_networks(searched)
    trainings: dict[str, tuple[Path, dict[str, Any]]] = {}
    for entry in selected:
        recipe = config.finetune.recipe(config.training, entry["precision"])
        key = sha256_of_json([entry["arch"], recipe.quantisation])
        if key not in trainings:
            own = replace(config, training=recipe, checkpoint=str(supernet), arch=dict(entry["arch"]))
            place = folder / entry["id"]
            trainings[key] = place, train(own, place, reporter, f"finetune {entry['id']}")
        entry |= _outcome(*trainings[key], folder)
    result = {"selected": selected, "searched": sha256_of_file(searched)}
    _write_changed(folder, config.seed, [place for place, _ in trainings.values()], result)
    return result


def _outcome(place: Path, trained: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    subnet = trained["subnet"]
    before, after = (one.get("int8", one)["held_out_accuracy"] for one in (subnet["before"], subnet))
    outcome = {"accuracy_inherited": before, "accuracy_finetuned": after}
    if after < before:
        return outcome
    return {**outcome, "checkpoint": str((place / trained["checkpoint"]).relative_to(folder))}


def _write_changed(folder: Path, seed: int, places: Sequence[Path], result: Mapping[str, Any]) -> None:
    """`result.json`, left as it is where nothing changed: later steps go by its digest."""
    path = folder / "result.json"
    if not path.exists() or read_result(path) != result:
        elapsed_s = sum(read_json(place / "result.json")["elapsed_s"] for place in places)
        write_result(folder, "finetune", seed, elapsed_s, result)
