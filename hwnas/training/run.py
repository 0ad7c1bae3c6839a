"""One training run's live state, and its steps."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
import torch

from hwnas.data.load import ImageData
from hwnas.errors import CheckpointError, TrainingError
from hwnas.interrupts import Interrupted, finished_first
from hwnas.progress import Progress, silent
from hwnas.spaces import Genotypes
from hwnas.supernet.layout import channels_last
from hwnas.supernet.reorder import reorder_channels
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.supernet import Supernet
from hwnas.training.batches import Batches
from hwnas.training.checkpoint import load_supernet, save_supernet
from hwnas.training.config import TrainingConfig
from hwnas.training.freezing import Freezing
from hwnas.training.gradients import Gradients, StepScores
from hwnas.training.identity import check_fit, run_identity
from hwnas.training.live_phase import LivePhase, part_of
from hwnas.training.loss import LossRule
from hwnas.training.need import out_of_memory
from hwnas.training.phases import PlannedPhase, plan_phases
from hwnas.training.processes import Processes
from hwnas.training.randomness import EVALUATION, SUBNETS, dropout_drawn, numpy_generator
from hwnas.training.records import ClassScores, Clock, Records
from hwnas.training.samplers import draw_resolution
from hwnas.training.scores import held_out_accuracies
from hwnas.training.state import CheckpointFolder, SavedState
from hwnas.training.teacher import Teacher
from hwnas.training.together import change_of_processes, check_together

__all__ = ["Run"]

_TEACHER = "teacher.safetensors"
_CHECKPOINT_S = 120.0
"""A checkpoint is written so often at least: steps may take seconds each."""


class Run:
    """The network, its teachers, and how far the run is. `new`: which parameters did not come from a checkpoint. `say`
    is told where another number of processes goes on.
    """

    def __init__(
        self,
        config: TrainingConfig,
        network: TrainedNetwork,
        data: ImageData,
        folder: Path,
        seed: int,
        progress: Progress,
        processes: Processes,
        new: Collection[str] = (),
        say: Callable[[str], None] = silent,
    ) -> None:
        self.config, self.data, self.folder, self.seed, self.processes = config, data, folder, seed, processes
        self.space, self._say = network.space, say
        check_fit(config, self.space, data, processes.count)
        single = network.genotype if isinstance(network, SingleNetwork) else None
        self.batches = Batches(data, config.batch_size, seed, processes, self._resolution_at)
        self._epoch_steps = config.epoch_steps(len(data.train))
        self.plan = plan_phases(config.phases, self.space, self._epoch_steps, single)
        self.identity = run_identity(config, self.space, data, seed, single, processes.count)
        self.checkpoints = CheckpointFolder(folder / "checkpoints", self.identity)
        self.network = channels_last(network.to(processes.device))
        self.gradients = Gradients(self.network, config.shards, config.accumulate, processes)
        frozen_steps = round(config.freeze_epochs * self._epoch_steps)
        self.freezing = Freezing(self.network, new, frozen_steps) if new and frozen_steps else None
        self.teachers: dict[str, Teacher] = {}
        if self._is_taught_by("start"):
            self.teachers["start"] = self._make_teacher(self.network)
        self.clock = Clock(self.plan, progress)
        self.records: Records | None = None
        self.history: list[dict[str, object]] = []
        self.step = 0
        self._saved_at, self._saved_step, self._is_whole = time.monotonic(), 0, True

    def run(self) -> None:
        """From the newest checkpoint, if there is one, to the end."""
        try:
            self._run()
        finally:
            self.batches.close()

    def _run(self) -> None:
        check_together(self.processes, self.folder, self.identity)
        saved = self._saved()
        if saved is not None:
            self._take_up(saved)
        if self.processes.is_first:
            self.records = Records(self.folder, self.history, self.config.tensorboard)
            self.history = self.records.rows
        for phase in self.plan:
            if self.step < phase.end:
                live = self._enter(phase, saved)
                self.clock.say(self.step, f"phase {phase.config.name}: making the first of {phase.steps} steps")
                with self._kept(live):
                    self._train(live)
                    self._leave(live)
        if self.freezing is not None:
            self.freezing.at(self.step)
        if self.records is not None:
            self.records.close()

    def _resolution_at(self, step: int) -> int:
        """What the sampler will draw for a step; workers that run ahead may ask for steps past the end."""
        phase = next((phase for phase in self.plan if step < phase.end), self.plan[-1])
        choice = draw_resolution(phase, numpy_generator(self.seed, SUBNETS, step))
        return self.space.resolutions[choice]

    # ---- phases -------------------------------------------------------------------------------------------------

    def _saved(self) -> SavedState | None:
        """The checkpoint that the first process goes on from, in each of them."""
        first = self.processes.is_first
        saved = self.checkpoints.latest() if first else None
        step = self.processes.agree(None if saved is None else saved.step)
        return saved if first or step is None else self.checkpoints.at(step)

    def _take_up(self, saved: SavedState) -> None:
        self.step, self.history = saved.step, list(saved.history)
        self._saved_step = saved.step
        if self.processes.is_first and saved.parts != self.identity["training"]["parts"]:
            self._say(change_of_processes(saved, self.processes.count, self.config.batch_size))
        self.network.load_state_dict(part_of(saved.tensors, "model"))
        elapsed_s = saved.history[-1].get("elapsed_s", 0.0) if saved.history else 0.0
        self.clock.take_up(self.step, elapsed_s)
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
        phase, scores = live.phase, ClassScores(live.phase)
        evaluate_every = round(self.config.evaluate_every_epochs * self._epoch_steps)
        while self.step < phase.end:
            rate = phase.learning_rate(self.step)
            if self.freezing is not None:
                self.freezing.at(self.step)
            with finished_first() as signals:
                self._step(live, rate, scores)
                self.processes.heed(signals)
                scores = self._told(phase, rate, scores)
            if evaluate_every and (self.step - phase.start) % evaluate_every == 0 and self.step < phase.end:
                with live.average.applied() if live.average is not None else nullcontext():
                    self._record("evaluation", phase, self._judge(phase))
                scores.skip_time()
            due = time.monotonic() - self._saved_at > _CHECKPOINT_S
            if (due or self.step % self.config.checkpoint_every == 0) and self.step < phase.end:
                self._save(live)

    def _told(self, phase: PlannedPhase, rate: float, scores: ClassScores) -> ClassScores:
        """What the scores of further steps are added to: `scores`, or new ones where these were recorded."""
        shown = self.clock.step_done(self.step)
        if self.step % self.config.log_every == 0 or self.step == phase.end:
            self._record("steps", phase, {"learning_rate": rate, **scores.means(self.config.batch_size)})
            return ClassScores(phase)
        if shown and self.records is not None:
            row = {**scores.means(self.config.batch_size), "left_s": self.clock.left_s(self.step)}
            self.clock.show(self.step, phase, row)
        return scores

    def _step(self, live: LivePhase, rate: float, scores: ClassScores) -> None:
        genotypes = live.sampler.draw(numpy_generator(self.seed, SUBNETS, self.step))
        self._is_whole = False
        try:
            found = self._find_gradients(live.phase, genotypes)
        except torch.cuda.OutOfMemoryError as error:
            raise out_of_memory(" ".join(str(error).split())[:120], self.network, self.config) from error
        if not math.isfinite(found.losses.sum()):
            raise self._failure(live.phase, "the loss is")
        live.update(rate)
        live.sampler.told(genotypes, found.losses)
        scores.add(genotypes, found)
        self.step += 1
        self._is_whole = True

    @contextmanager
    def _kept(self, live: LivePhase) -> Iterator[None]:
        """Where it is interrupted between two steps, a checkpoint is written, and the error says so."""
        try:
            yield
        except KeyboardInterrupt as error:
            number = error.number if isinstance(error, Interrupted) else signal.SIGINT
            if self._is_whole and live.phase.start < self.step < live.phase.end:
                # torchrun signals again where another process was the quicker to end.
                with suppress(Interrupted), finished_first():
                    self._save(live)
            step, of = self._saved_step, self.plan[-1].end
            kept = f"training is kept up to step {step} of {of}" if step else "no step of the training is kept yet"
            raise Interrupted(number, kept) from error

    def _find_gradients(self, phase: PlannedPhase, genotypes: Genotypes) -> StepScores:
        images, labels = self.batches(self.step, self.space.resolutions[int(genotypes[0, -1])])
        teacher = self.teachers.get(phase.config.teacher)
        soften = None if teacher is None else teacher.soft_labels
        config = self.config
        in_place = phase.config.teacher == "in_place"
        autocast = self.processes.autocast
        rule = LossRule(config.label_smoothing, config.distillation_weight, soften, in_place, autocast)
        place = self.step * self.processes.count + self.processes.rank
        with dropout_drawn(self.seed, place) if config.dropout else nullcontext():
            return self.gradients(genotypes, images, labels, rule)

    def _leave(self, live: LivePhase) -> None:
        phase = live.phase
        if live.average is not None:
            live.average.adopt()
        if phase.index == 0 and self._first_phase_teaches:
            if self.processes.is_first:
                save_supernet(self.folder / _TEACHER, self.network, {"identity": self.identity})
            self.processes.wait()
            self._load_teacher()
        self._record("phase_end", phase, self._judge(phase))
        self._save(live)

    def _judge(self, phase: PlannedPhase) -> dict[str, float]:
        """Held-out accuracies of what the phase trains: largest, smallest, and the mean of random ones."""
        rng = numpy_generator(self.seed, EVALUATION, phase.index)
        count = self.config.random_subnets
        drawn = np.stack([rng.choice(options, size=count) for options in phase.allowed], axis=1)
        rows = self.space.canonical(np.concatenate([[phase.largest, phase.smallest], drawn]))
        rows, inverse = np.unique(rows, axis=0, return_inverse=True)
        found = np.zeros(len(rows))
        mine = slice(self.processes.rank, None, self.processes.count)

        def tell(status: str) -> None:
            self.clock.say(self.step, f"phase {phase.config.name}: {status}")

        found[mine] = held_out_accuracies(self.network, rows[mine], self.data, self.config, tell)
        accuracies = self.processes.sum(found)[inverse.reshape(-1)]
        return {
            "largest_accuracy": float(accuracies[0]),
            "smallest_accuracy": float(accuracies[1]),
            "random_accuracy": float(accuracies[2:].mean()),
        }

    # ---- teacher ------------------------------------------------------------------------------------------------

    @property
    def _first_phase_teaches(self) -> bool:
        return self._is_taught_by("first_phase", after=1) and isinstance(self.network, Supernet)

    def _is_taught_by(self, teacher: str, after: int = 0) -> bool:
        taught = any(phase.teacher == teacher for phase in self.config.phases[after:])
        return taught and bool(self.config.distillation_weight)

    def _load_teacher(self) -> None:
        path = self.folder / _TEACHER
        network, metadata = load_supernet(path, self.space.config())
        if self.checkpoints.difference(metadata.get("identity")):
            raise CheckpointError(f"{path} is of another run: delete {self.folder} and train again")
        self.teachers["first_phase"] = self._make_teacher(network.to(self.processes.device))

    def _make_teacher(self, network: TrainedNetwork) -> Teacher:
        return Teacher(network, self.data, self.config.calibration_images, self.processes.device)

    # ---- records ------------------------------------------------------------------------------------------------

    def _record(self, event: str, phase: PlannedPhase, values: Mapping[str, float]) -> None:
        if self.records is None:
            return
        row = {
            "event": event,
            "phase": phase.config.name,
            "step": self.step,
            "epoch": round(self.step / self._epoch_steps, 4),
            "elapsed_s": self.clock.elapsed_s,
            "left_s": self.clock.left_s(self.step),
            **values,
        }
        self.records.add(row)
        if event == "steps":
            self.clock.show(self.step, phase, row)

    def _save(self, live: LivePhase) -> None:
        weights = self.network.state_dict()
        if not all(bool(value.isfinite().all()) for value in weights.values() if value.is_floating_point()):
            raise self._failure(live.phase, "the weights are")
        if self.records is not None:
            tensors = {f"model/{name}": value for name, value in weights.items()} | live.tensors()
            self.checkpoints.save(self.step, tensors, self.history)
            self.records.save()
        self._saved_at, self._saved_step = time.monotonic(), self.step

    def _failure(self, phase: PlannedPhase, what: str) -> TrainingError:
        return TrainingError(
            f"{what} no number any more: phase {phase.config.name!r}, step {self.step}, learning rate"
            f" {phase.learning_rate(self.step):.3g}; the last good checkpoint stays in {self.folder / 'checkpoints'};"
            " lower the phase's learning_rate, or lengthen its warm-up, and start in another folder"
        )
