"""Each network that was chosen is trained on alone, from the supernet's weights.

A target has a folder of its own, with a training as `hwnas train` writes it; targets of one network share the first
one's. `result.json` is the search's `selected`, each entry with the `checkpoint` that has its weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import ConfigError
from hwnas.files import read_json, sha256_of_file, sha256_of_json
from hwnas.pipeline.config import FinetuneStep, TrainStep
from hwnas.pipeline.inputs import input_path, searched_networks, trained_checkpoint
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.search.supernets import of_supernet
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.store.steps import read_result, step_of, write_result
from hwnas.pipeline.train import Scored, Trained, train
from hwnas.progress import SILENT, Reporter
from hwnas.training.torchrun import check_alone

__all__ = ["Finetuned", "finetune", "has_lost"]


@dataclass(frozen=True)
class Finetuned:
    """What a search chose, trained on. `checkpoint` is a path below the step's folder; a network that lost more than a
    standard error of its accuracy by it has none, and keeps the supernet's weights. Accuracies are held-out ones, of
    int8 for int8 files. `searched`: the SHA-256 of the search's result.
    """

    selected: tuple[SearchEntry, ...]
    searched: str


@step_of(FinetuneStep)
def finetune(config: FinetuneStep, folder: Path, reporter: Reporter = SILENT) -> Finetuned:
    """The networks in `folder`, trained on or read. Raises StorageError where there is no search or no supernet.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> tuned = hwnas.finetune(config, "runs/mine/finetune").selected
    >>> all(one.checkpoint or one.accuracy_finetuned < one.accuracy_inherited for one in tuned)
    True
    """
    if not config.finetune.epochs:
        raise ConfigError("finetune.epochs: expected how long each network is trained on, got 0; try finetune.epochs=3")
    check_alone("hwnas finetune")
    searched = input_path(config.targets, folder, "search", "result.json", "targets")
    trainings: dict[str, tuple[Path, Trained]] = {}
    selected = []
    for entry in searched_networks(searched, SearchEntry):
        home = of_supernet(config, entry.supernet)
        supernet = trained_checkpoint(home.checkpoint, home, folder)
        recipe = config.finetune.recipe(config.training, entry.precision)
        key = sha256_of_json([entry.arch, recipe.quantisation])
        if key not in trainings:
            own = TrainStep(
                seed=config.seed, space=home.space, data=home.data, checkpoint=str(supernet), arch=entry.arch,
                training=recipe,
            )  # fmt: skip
            place = folder / entry.id
            trained = train(own, place, reporter, f"finetune {entry.id}")
            if trained is None:
                raise TypeError("one process trains, and has a result")
            trainings[key] = place, trained
        selected.append(_tuned(entry, *trainings[key], folder))
    result = Finetuned(tuple(selected), sha256_of_file(searched))
    _write_changed(folder, config.seed, [place for place, _ in trainings.values()], result)
    return result


def _tuned(entry: SearchEntry, place: Path, trained: Trained, folder: Path) -> SearchEntry:
    subnet = trained.subnet
    if subnet is None or subnet.before is None:
        raise TypeError("a training of one network from a checkpoint says what it was before")
    before, after = _deployed(subnet.before), _deployed(subnet)
    lost = has_lost(before, after, trained.data["images"]["held_out"])
    checkpoint = None if lost else str((place / trained.checkpoint).relative_to(folder))
    return replace(entry, accuracy_inherited=before, accuracy_finetuned=after, checkpoint=checkpoint)


def has_lost(before: float, after: float, images: int) -> bool:
    """Whether an accuracy on so many images fell by more than its standard error.

    Less is chance: of 296 held-out photographs a network lost one by fine-tuning, and won 6.4 points on 2,485 others.
    """
    return after < before - math.sqrt(before * (1 - before) / max(images, 1))


def _deployed(scored: Scored) -> float:
    return (scored.int8 or scored).held_out_accuracy


def _write_changed(folder: Path, seed: int, places: Sequence[Path], result: Finetuned) -> None:
    """`result.json`, left as it is where nothing changed: later steps go by its digest."""
    path = folder / "result.json"
    if not path.exists() or read_result(path) != to_plain(result):
        elapsed_s = sum(read_json(place / "result.json")["elapsed_s"] for place in places)
        write_result(folder, "finetune", seed, elapsed_s, result)
