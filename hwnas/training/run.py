"""One training run's live state, and its steps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, ConfigError, TrainingError
from hwnas.files import write_json
from hwnas.progress import Progress
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.layout import channels_last
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.supernet import Supernet
from hwnas.training.batches import Batches
from hwnas.training.checkpoint import load_supernet, save_supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.gradients import Gradients, StepScores
from hwnas.training.live_phase import LivePhase, part_of
from hwnas.training.loss import LossRule
from hwnas.training.phases import PlannedPhase, plan_phases
from hwnas.training.randomness import DROPOUT, EVALUATION, SUBNETS, numpy_generator, torch_generator
from hwnas.training.scores import held_out_accuracies
from hwnas.training.state import CheckpointFolder, SavedState
from hwnas.training.teacher import Teacher

__all__ = ["Run"]

_HISTORY = "history.json"
_TEACHER = "teacher.safetensors"


class Run:
    """The network, the teacher, and how far the run is."""

    def __init__(
        self,
        config: TrainingConfig,
        network: TrainedNetwork,
        data: ImageData,
        folder: Path,
        seed: int,
        progress: Progress,
    ) -> None:
        self.config, self.data, self.folder, self.seed, self.progress = config, data, folder, seed, progress
        self.space = network.space
        _check_fit(self.space, data)
        single = network.genotype if isinstance(network, SingleNetwork) else None
        self.batches = Batches(data, config.batch_size, seed)
        self.plan = plan_phases(config.phases, self.space, self.batches.steps_per_epoch, single)
        self.identity = _identity(config, self.space, data, seed, single)
        self.checkpoints = CheckpointFolder(folder / "checkpoints", self.identity)
        self.fabric = Fabric(accelerator=config.accelerator, devices=1, precision=config.precision)  # type: ignore[arg-type]
        self.network = channels_last(network.to(self.fabric.device))
        self.gradients = Gradients(self.network, config.shards, config.accumulate, self.fabric.autocast)
        self.teacher: Teacher | None = None
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self._clock = -time.perf_counter()

    def run(self) -> None:
        """From the newest checkpoint, if there is one, to the end."""
        saved = self.checkpoints.latest()
        if saved is not None:
            self._take_up(saved)
        for phase in self.plan:
            if self.step < phase.end:
                live = self._enter(phase, saved)
                self._train(live)
                self._leave(live)

    # ---- phases -------------------------------------------------------------------------------------------------

    def _take_up(self, saved: SavedState) -> None:
        self.step, self.history = saved.step, list(saved.history)
        self._clock += self.history[-1].get("elapsed_s", 0.0) if self.history else 0.0
        self.network.load_state_dict(part_of(saved.tensors, "model"))
        if self.step >= self.plan[0].end and self._first_phase_teaches:
            self._load_teacher()

    def _enter(self, phase: PlannedPhase, saved: SavedState | None) -> LivePhase:
        if self.step == phase.start and phase.reorders and isinstance(self.network, Supernet):
            reorder_channels(self.network, phase.settled)
        live = LivePhase(phase, self.network, self.config)
        if saved is not None and self.step > phase.start:
            live.restore(saved.tensors, self.step)
        return live

    def _train(self, live: LivePhase) -> None:
        phase, scores = live.phase, _Scores(live.phase)
        while self.step < phase.end:
            rate = phase.learning_rate(self.step)
            genotypes = live.sampler.draw(numpy_generator(self.seed, SUBNETS, self.step))
            found = self._find_gradients(phase, genotypes)
            if not math.isfinite(found.losses.sum()):
                raise self._failure(phase, rate, "loss")
            live.update(rate)
            live.sampler.told(genotypes, found.losses)
            scores.add(genotypes, found)
            self.step += 1
            if self.step % self.config.log_every == 0 or self.step == phase.end:
                self._log(phase, rate, scores)
                scores = _Scores(phase)
            if self.step % self.config.checkpoint_every == 0 and self.step < phase.end:
                self._save(live, rate)

    def _find_gradients(self, phase: PlannedPhase, genotypes: Genotypes) -> StepScores:
        resolution = self.space.resolutions[int(genotypes[0, -1])]
        images, labels = (part.to(self.fabric.device) for part in self.batches(self.step, resolution))
        soften = self.teacher.soft_labels if self.teacher and phase.config.teacher == "first_phase" else None
        config = self.config
        in_place = phase.config.teacher == "in_place"
        rule = LossRule(config.label_smoothing, config.distillation_weight, soften, in_place)
        with _dropout_seed(self.seed, self.step) if config.dropout else nullcontext():
            return self.gradients(genotypes, images, labels, rule)

    def _leave(self, live: LivePhase) -> None:
        phase = live.phase
        if live.average is not None:
            live.average.adopt()
        if phase.index == 0 and self._first_phase_teaches:
            save_supernet(self.folder / _TEACHER, self.network, {"identity": self.identity})
            self._load_teacher()
        accuracies = self._judge(phase)
        self._record("phase_end", phase, accuracies)
        self._save(live, phase.learning_rate(self.step - 1))

    def _judge(self, phase: PlannedPhase) -> dict[str, float]:
        """Held-out accuracies of what the phase trains: largest, smallest, and the mean of random ones."""
        ends = [phase.largest, phase.smallest]
        rng = numpy_generator(self.seed, EVALUATION, phase.index)
        count = self.config.random_subnets
        drawn = np.stack([rng.choice(options, size=count) for options in phase.allowed], axis=1)
        rows, inverse = np.unique(self.space.canonical(np.concatenate([ends, drawn])), axis=0, return_inverse=True)
        calibration = self.config.calibration_images
        found = np.array(held_out_accuracies(self.network, rows, self.data, calibration, self.fabric.device))
        accuracies = found[inverse.reshape(-1)]
        return {
            "largest_accuracy": float(accuracies[0]),
            "smallest_accuracy": float(accuracies[1]),
            "random_accuracy": float(accuracies[2:].mean()),
        }

    # ---- teacher ------------------------------------------------------------------------------------------------

    @property
    def _first_phase_teaches(self) -> bool:
        later = any(phase.teacher == "first_phase" for phase in self.config.phases[1:])
        return later and bool(self.config.distillation_weight) and isinstance(self.network, Supernet)

    def _load_teacher(self) -> None:
        path = self.folder / _TEACHER
        network, metadata = load_supernet(path, self.space.config())
        if metadata.get("identity") != self.identity:
            raise CheckpointError(f"{path} is of another run: delete {self.folder} and train again")
        device = self.fabric.device
        self.teacher = Teacher(network.to(device), self.data, self.config.calibration_images, device)

    # ---- records ------------------------------------------------------------------------------------------------

    def write_history(self) -> None:
        """`history.json`, for whoever plots the run."""
        write_json(self.folder / _HISTORY, {"rows": self.history})

    def _save(self, live: LivePhase, rate: float) -> None:
        weights = self.network.state_dict()
        if not all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point()):
            raise self._failure(live.phase, rate, "weights")
        tensors = {f"model/{name}": value for name, value in weights.items()} | live.tensors()
        self.checkpoints.save(self.step, tensors, self.history)
        self.write_history()

    def _failure(self, phase: PlannedPhase, rate: float, what: str) -> TrainingError:
        verb = "is" if what == "loss" else "are"
        return TrainingError(
            f"the {what} {verb} no number any more: phase {phase.config.name!r}, step {self.step}, learning rate"
            f" {rate:.3g}; the last good checkpoint stays in {self.folder / 'checkpoints'}; lower the phase's"
            " learning_rate, or lengthen its warm-up, and start in a new hydra.run.dir"
        )

    def _log(self, phase: PlannedPhase, rate: float, scores: _Scores) -> None:
        self._record("steps", phase, {"learning_rate": rate, **scores.means(self.config.batch_size)})
        status = f"phase {phase.config.name} ({phase.index + 1} of {len(self.plan)})  loss {scores.loss:.3f}"
        self.progress(self.step / self.plan[-1].end, status)

    def _record(self, event: str, phase: PlannedPhase, values: Mapping[str, float]) -> None:
        elapsed_s = round(self._clock + time.perf_counter(), 3)
        row = {"event": event, "phase": phase.config.name, "step": self.step, "elapsed_s": elapsed_s}
        self.history.append({**row, **values})


class _Scores:
    """Training losses and accuracies since the row before, by class of subnet: largest, smallest, random."""

    def __init__(self, phase: PlannedPhase) -> None:
        self._ends = [("largest", phase.largest[:-1]), ("smallest", phase.smallest[:-1])]
        self._began = time.perf_counter()
        self._losses: list[float] = []
        self._by_class: dict[str, list[tuple[float, float]]] = {}

    def add(self, genotypes: Genotypes, found: StepScores) -> None:
        self._losses.append(float(found.losses.mean()))
        for genotype, loss, accuracy in zip(genotypes, found.losses, found.accuracies, strict=True):
            self._by_class.setdefault(self._class_of(genotype), []).append((float(loss), float(accuracy)))

    @property
    def loss(self) -> float:
        return sum(self._losses) / len(self._losses)

    def means(self, batch_size: int) -> dict[str, float]:
        row = {"loss": self.loss}
        for name, values in sorted(self._by_class.items()):
            row[f"{name}_loss"], row[f"{name}_batch_accuracy"] = (float(mean) for mean in np.mean(values, axis=0))
        row["images_per_s"] = len(self._losses) * batch_size / (time.perf_counter() - self._began)
        return row

    def _class_of(self, genotype: Genotypes) -> str:
        for name, end in self._ends:
            if np.array_equal(genotype[:-1], end):
                return name
        return "random"


@contextmanager
def _dropout_seed(seed: int, step: int) -> Iterator[None]:
    # Dropout draws from torch's global generator, the only thing here that does.
    with torch.random.fork_rng():
        torch.manual_seed(torch_generator(seed, DROPOUT, step).initial_seed())
        yield


def _check_fit(space: Space, data: ImageData) -> None:
    if (space.classes, space.in_channels) != (len(data.classes), data.channels):
        raise ConfigError(
            f"space {space.name} is for {space.classes} classes and {space.in_channels} channels, data"
            f" {data.name!r} has {len(data.classes)} and {data.channels}: set space.classes=0 space.in_channels=0"
        )


def _identity(
    config: TrainingConfig, space: Space, data: ImageData, seed: int, single: Genotypes | None
) -> dict[str, Any]:
    """All that the trained weights depend on, as JSON gives it back."""
    training = asdict(config)
    for key in ("log_every", "checkpoint_every", "random_subnets"):
        del training[key]
    parts: Mapping[str, Any] = {
        "seed": seed,
        "space": space.config(),
        "data": data.summary(),
        "augment": asdict(data.augment),
        "arch": None if single is None else space.arch(single).to_dict(),
    }
    identity: dict[str, Any] = json.loads(json.dumps({**parts, "training": training}))
    return identity
