"""Progressive shrinking from nothing to the end, resumable at any step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hwnas.data.load import ImageData
from hwnas.data.preprocess import prepare
from hwnas.errors import CheckpointError, ConfigError, TrainingError
from hwnas.files import write_json
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.evaluate import accuracy_of, calibrated_subnet
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import batches_of, channels_last
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.supernet import Supernet
from hwnas.training.batches import Batches
from hwnas.training.checkpoint import (
    load_supernet,
    optimiser_tensors,
    restore_optimiser,
    save_supernet,
)
from hwnas.training.config import TrainingConfig
from hwnas.training.loss import distilled_loss
from hwnas.training.memory import keep_freed_memory
from hwnas.training.optimiser import make_optimiser
from hwnas.training.phases import PlannedPhase, plan_phases
from hwnas.training.randomness import DROPOUT, INITIALISATION, SUBNETS, numpy_generator, torch_generator
from hwnas.training.samplers import draw_subnets
from hwnas.training.shards import ShardedGradients
from hwnas.training.state import CheckpointFolder
from hwnas.training.teacher import Teacher

__all__ = ["TrainResult", "train"]

_HISTORY = "history.json"


@dataclass(frozen=True)
class TrainResult:
    """`supernet` is in eval mode on the CPU and lies in the file `path`.

    `history` holds rows of two kinds: `event` "steps" (`phase`, `step`, `learning_rate`, `loss`, `images_per_s`: means
    since the row before) and "phase_end" (`phase`, `step`, `largest_accuracy`, `smallest_accuracy` on the held-out
    images).
    """

    supernet: Supernet
    path: Path
    history: list[dict[str, Any]]


def train(
    config: TrainingConfig, space: OfaMbv3Space, data: ImageData, folder: Path, seed: int, progress: Progress
) -> TrainResult:
    """Train a supernet into `folder`: `supernet.safetensors`, `history.json`, and `checkpoints/` on the way.

    Called again after an interruption, it goes on from the last checkpoint; on a CPU the weights then come out as if it
    had never been interrupted, bit for bit. Raises CheckpointError where `folder` holds another run's checkpoints,
    TrainingError where the loss stops being a number, ConfigError where config, space and data don't fit together.
    """
    keep_freed_memory()
    with _threads_per_shard(config.shards):
        run = _Run(config, space, data, folder, seed, progress)
        run.resume()
        for phase in run.plan:
            if run.step < phase.end:
                run.run_phase(phase)
    metadata = {"classes": list(data.classes), "preprocessing": data.preprocessing.to_dict(), "identity": run.identity}
    supernet = run.supernet.cpu().eval()
    path = save_supernet(folder / "supernet.safetensors", supernet, metadata)
    run.write_history()
    return TrainResult(supernet, path, run.history)


class _Run:
    """One run's live state: the supernet, the phase's optimiser, the teacher and how far it is."""

    def __init__(
        self, config: TrainingConfig, space: OfaMbv3Space, data: ImageData, folder: Path, seed: int, progress: Progress
    ) -> None:
        _check_fit(space, data)
        self.config, self.space, self.data, self.folder, self.seed = config, space, data, folder, seed
        self.progress = progress
        self.batches = Batches(data, config.batch_size, seed)
        self.plan = plan_phases(config.phases, space, self.batches.steps_per_epoch)
        self.identity = _identity(config, space, data, seed)
        self.checkpoints = CheckpointFolder(folder / "checkpoints", self.identity)
        self.fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)  # type: ignore[arg-type]
        supernet = build_supernet(space, config.dropout, torch_generator(seed, INITIALISATION))
        self.supernet = channels_last(supernet.to(self.fabric.device))
        self.forward = self.fabric.setup_module(self.supernet)
        self.parameter_names = {parameter: name for name, parameter in self.supernet.named_parameters()}
        self.optimiser = make_optimiser(self.supernet, config)
        self.sharded = ShardedGradients(self.supernet, config.shards, self._loss) if config.shards > 1 else None
        self.teacher: Teacher | None = None
        self.history: list[dict[str, Any]] = []
        self.step = 0

    # ---- going on -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up the newest checkpoint, if there is one."""
        saved = self.checkpoints.latest()
        if saved is None:
            return
        self.step, self.history = saved.step, list(saved.history)
        weights = {name.removeprefix("model/"): t for name, t in saved.tensors.items() if name.startswith("model/")}
        self.supernet.load_state_dict(weights)
        parameters = {name: parameter for parameter, name in self.parameter_names.items()}
        restore_optimiser(self.optimiser, parameters, saved.tensors)
        if self.step >= self.plan[0].end and len(self.plan) > 1 and self.config.distillation_weight:
            self._load_teacher()

    def save(self) -> None:
        """Write a checkpoint and the history so far."""
        tensors = {f"model/{name}": value for name, value in self.supernet.state_dict().items()}
        tensors |= optimiser_tensors(self.optimiser, self.parameter_names)
        self.checkpoints.save(self.step, tensors, self.history)
        self.write_history()

    def write_history(self) -> None:
        write_json(self.folder / _HISTORY, {"rows": self.history})

    # ---- phases -------------------------------------------------------------------------------------------------

    def run_phase(self, phase: PlannedPhase) -> None:
        """From wherever the run stands to the end of `phase`, its evaluation and its checkpoint."""
        if self.step == phase.start:
            if phase.reorders:
                reorder_channels(self.supernet, {"e": phase.settled_ratios})
            self.optimiser = make_optimiser(self.supernet, self.config)
        optimiser = self.fabric.setup_optimizers(self.optimiser)
        losses: list[float] = []
        began = time.perf_counter()
        while self.step < phase.end:
            rate = phase.learning_rate(self.step)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            losses.append(self._train_step(phase, optimiser, rate))
            self.step += 1
            if self.step % self.config.log_every == 0 or self.step == phase.end:
                self._log(phase, rate, losses, time.perf_counter() - began)
                losses, began = [], time.perf_counter()
            if self.step % self.config.checkpoint_every == 0 and self.step < phase.end:
                self.save()
        self._finish(phase)

    def _train_step(self, phase: PlannedPhase, optimiser: Any, rate: float) -> float:
        genotypes = draw_subnets(self.space, phase, numpy_generator(self.seed, SUBNETS, self.step))
        resolution = self.space.resolutions[int(genotypes[0, -1])]
        images, labels = (part.to(self.fabric.device) for part in self.batches(self.step, resolution))
        soften = self.teacher.soft_labels if self.teacher else None
        if self.sharded is not None:
            mean_loss = self.sharded(genotypes, images, labels, soften)
        else:
            mean_loss = self._gradients(genotypes, images, labels, soften(images) if soften else None)
        if not math.isfinite(mean_loss):
            raise TrainingError(
                f"the loss is no number any more: phase {phase.config.name!r}, step {self.step}, learning rate"
                f" {rate:.3g}; the last good checkpoint stays in {self.folder / 'checkpoints'}; lower the phase's"
                " learning_rate, or lengthen its warm-up, and start in a new hydra.run.dir"
            )
        optimiser.step()
        return mean_loss

    def _gradients(self, genotypes: Genotypes, images: Tensor, labels: Tensor, soft_labels: Tensor | None) -> float:
        """Set the gradients, summed over the subnets; their mean loss."""
        self.supernet.train()
        self.optimiser.zero_grad()
        total = 0.0
        with _dropout_seed(self.config.dropout, self.seed, self.step):
            for genotype in genotypes:
                loss = self._loss(self.forward, genotype, images, labels, soft_labels)
                total += float(loss.detach())
                self.fabric.backward(loss)
        return total / len(genotypes)

    def _loss(
        self, network: nn.Module, genotype: Genotypes, images: Tensor, labels: Tensor, soft_labels: Tensor | None
    ) -> Tensor:
        logits = network(images, genotype).float()
        weight = self.config.distillation_weight
        return distilled_loss(logits, labels, soft_labels, self.config.label_smoothing, weight)

    def _finish(self, phase: PlannedPhase) -> None:
        if phase.index == 0 and len(self.plan) > 1 and self.config.distillation_weight:
            save_supernet(self.folder / "teacher.safetensors", self.supernet, {"identity": self.identity})
            self._load_teacher()
        row: dict[str, Any] = {"event": "phase_end", "phase": phase.config.name, "step": self.step}
        for name, largest in (("largest_accuracy", True), ("smallest_accuracy", False)):
            resolution = self.space.cardinalities[-1] - 1 if largest else 0
            genotype = np.append(phase.extreme(largest), resolution)
            row[name] = self._accuracy(self.space.canonical(genotype[None])[0])
        self.history.append(row)
        self.save()

    def _accuracy(self, genotype: Genotypes) -> float:
        """Held-out accuracy of a subnet as it would be deployed."""
        resolution = self.space.resolutions[int(genotype[-1])]

        def prepared(images: Tensor) -> Tensor:
            ready = prepare(images, resolution, self.data.preprocessing)
            return ready.to(self.fabric.device).contiguous(memory_format=torch.channels_last)

        calibration = prepared(self.data.train.first(self.config.calibration_images).images)
        subnet = calibrated_subnet(self.supernet, genotype, batches_of(calibration, 500))
        held_out = self.data.held_out
        return accuracy_of(fold_batch_norm(subnet), prepared(held_out.images), held_out.labels.to(self.fabric.device))

    # ---- helpers ------------------------------------------------------------------------------------------------

    def _load_teacher(self) -> None:
        path = self.folder / "teacher.safetensors"
        supernet, metadata = load_supernet(path, self.space.config())
        if metadata.get("identity") != self.identity:
            raise CheckpointError(f"{path} is of another run: delete {self.folder} and train again")
        images = self.config.calibration_images
        self.teacher = Teacher(supernet.to(self.fabric.device), self.data, images, self.fabric.device)

    def _log(self, phase: PlannedPhase, rate: float, losses: list[float], elapsed_s: float) -> None:
        loss = sum(losses) / len(losses)
        speed = len(losses) * self.config.batch_size / elapsed_s
        self.history.append(
            {
                "event": "steps",
                "phase": phase.config.name,
                "step": self.step,
                "learning_rate": rate,
                "loss": loss,
                "images_per_s": speed,
            }
        )
        status = f"phase {phase.config.name} ({phase.index + 1} of {len(self.plan)})  loss {loss:.3f}"
        self.progress(self.step / self.plan[-1].end, status)


@contextmanager
def _threads_per_shard(shards: int) -> Iterator[None]:
    # Inside a shard's operators, and between steps too: idle threads of a larger team would spin beside the shards.
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // shards))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _dropout_seed(dropout: float, seed: int, step: int) -> Iterator[None]:
    # Dropout draws from torch's global generator, the only thing here that does.
    if not dropout:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(torch_generator(seed, DROPOUT, step).initial_seed())
        yield


def _check_fit(space: OfaMbv3Space, data: ImageData) -> None:
    settings = space.settings
    if (settings.classes, settings.in_channels) != (len(data.classes), data.channels):
        raise ConfigError(
            f"space {space.name} is for {settings.classes} classes and {settings.in_channels} channels, data"
            f" {data.name!r} has {len(data.classes)} and {data.channels}: set space.classes=0 space.in_channels=0"
        )


def _identity(config: TrainingConfig, space: OfaMbv3Space, data: ImageData, seed: int) -> dict[str, Any]:
    """All that the trained weights depend on, as JSON gives it back."""
    training = asdict(config)
    for key in ("log_every", "checkpoint_every"):
        del training[key]
    parts = {"seed": seed, "space": space.config(), "data": data.summary(), "augment": asdict(data.augment)}
    identity: dict[str, Any] = json.loads(json.dumps({**parts, "training": training}))
    return identity
