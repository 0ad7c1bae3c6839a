"""Training from nothing to the end, resumable at any step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hwnas.data.load import ImageData
from hwnas.progress import Progress, silent
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.fit import Loaded
from hwnas.supernet.single import TrainedNetwork
from hwnas.training.checkpoint import save_supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.identity import fitted
from hwnas.training.memory import keep_freed_memory
from hwnas.training.need import check_step_fits
from hwnas.training.networks import make_network
from hwnas.training.processes import Processes
from hwnas.training.run import Run

__all__ = ["TrainResult", "threads_per_shard", "train"]


@dataclass(frozen=True)
class TrainResult:
    """`supernet`, or the single network, is in eval mode on the CPU and lies in the file `path`.

    `history` holds rows of three kinds, all with `phase`, `step`, `epoch`, `elapsed_s` (since the
    run's start, without interruptions) and `left_s`. `event` "steps": `learning_rate`, `loss`, `images_per_s`, and
    `largest_loss`, `largest_batch_accuracy` and likewise `smallest_…` and `random_…` as far as such subnets were
    trained: means since the row before. "phase_end" and "evaluation": `largest_accuracy`, `smallest_accuracy`,
    `random_accuracy` on the held-out images.
    """

    supernet: TrainedNetwork
    path: Path
    history: list[dict[str, Any]]

    @property
    def train_s(self) -> float:
        """Seconds of training, evaluation included, over all sessions of a run."""
        return float(self.history[-1]["elapsed_s"])

    @property
    def images_per_s(self) -> float:
        """The mean over the "steps" rows: images trained on a second, each with all subnets of its step."""
        speeds = [row["images_per_s"] for row in self.history if row["event"] == "steps"]
        return float(sum(speeds) / len(speeds))


def train(
    config: TrainingConfig,
    space: Space,
    data: ImageData,
    folder: Path,
    seed: int,
    progress: Progress,
    genotype: Genotypes | None = None,
    checkpoint: Path | None = None,
    processes: Processes | None = None,
    say: Callable[[str], None] = silent,
) -> TrainResult:
    """Train into `folder`: `supernet.safetensors` or `subnet.safetensors`, `checkpoints/`, `history.json`,
    `training.csv` and `tensorboard/`.

    `genotype` `[G]` is a single network's, None the largest; `checkpoint` is what training starts from, of any space of
    the family: `say` is told what of it was loaded. Called again after an interruption, it goes on from the last
    checkpoint; on a CPU the weights then come out as if it had never been interrupted, bit for bit. Raises
    CheckpointError where `folder` holds another run's checkpoints, TrainingError where the loss stops being a number,
    ConfigError where config, space and data don't fit together.
    """
    processes = processes or Processes(config.accelerator, config.precision)
    config = fitted(config, len(data.train), processes.count).started(checkpoint)
    labels = (data.classes, data.folders)
    loads: list[Loaded] = []
    network = make_network(config, space, seed, genotype, checkpoint, labels, loads.append)
    new = frozenset[str]().union(*(loaded.new for loaded in loads))
    for loaded in loads:
        say(loaded.line)
    if config.freeze_epochs and not new:
        say(f"training.freeze_epochs={config.freeze_epochs:g}: all of {checkpoint} was loaded, so nothing is frozen")
    keep_freed_memory(space, config.batch_size // (config.shards * config.accumulate * processes.count))
    check_step_fits(network, config, processes.count)
    with threads_per_shard(config.shards):
        run = Run(config, network, data, folder, seed, progress, processes, new, say)
        run.run()
    metadata = {
        "classes": list(data.classes), "folders": list(data.folders), "preprocessing": data.preprocessing.to_dict(),
        "identity": run.identity,
    }  # fmt: skip
    network = run.network.cpu().eval()
    path = folder / f"{config.network}.safetensors"
    if processes.is_first:
        save_supernet(path, network, metadata)
    return TrainResult(network, path, run.history)


@contextmanager
def threads_per_shard(shards: int) -> Iterator[int]:
    """Divides this process's threads among `shards` until the context ends; yields how many there are in all.

    Inside a shard's operators, and between steps too: idle threads of a larger team would spin beside the shards.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // shards))
    try:
        yield before
    finally:
        torch.set_num_threads(before)
