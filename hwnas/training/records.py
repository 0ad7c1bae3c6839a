"""What a run writes down about itself: `history.json`, `training.csv`, TensorBoard's files, and the bar's status."""

from __future__ import annotations

import csv
import io
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import MissingExtraError
from hwnas.files import write_json, write_text
from hwnas.progress import Progress, time_in_words
from hwnas.spaces import Genotypes
from hwnas.training.gradients import StepScores
from hwnas.training.phases import PlannedPhase

__all__ = ["ClassScores", "Clock", "Records"]

HISTORY, TABLE, BOARD = "history.json", "training.csv", "tensorboard"
_SHOWN_EVERY_S = 0.5
CLASSES = ("largest", "smallest", "random")
COLUMNS = (
    "event", "phase", "step", "epoch", "elapsed_s", "left_s", "learning_rate", "images_per_s", "loss",
    *(f"{name}_{score}" for name in CLASSES for score in ("loss", "batch_accuracy", "accuracy")),
)  # fmt: skip


class Records:
    """The rows of a run. All three forms hold the same rows; a resumed run drops those after its checkpoint first."""

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, Any]], tensorboard: bool) -> None:
        self.rows = [dict(row) for row in rows]
        self._folder = folder
        write_text(folder / TABLE, _as_csv(self.rows, header=True))
        self._board = _Board(folder / BOARD) if tensorboard else None
        if self._board is not None:
            for row in self.rows:
                self._board.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Takes a row in; it is in the table at once."""
        self.rows.append(row)
        with (self._folder / TABLE).open("a", newline="") as file:
            file.write(_as_csv([row], header=False))
        if self._board is not None:
            self._board.add(row)

    def save(self) -> None:
        """Write `history.json`, and hand TensorBoard what is waiting."""
        write_json(self._folder / HISTORY, {"rows": self.rows})
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """After the last row."""
        self.save()
        if self._board is not None:
            self._board.close()


class _Board:
    """TensorBoard's event files. They can only be added to, so that each session writes them anew."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "train", "training.tensorboard=true") from error
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))

    def add(self, row: Mapping[str, Any]) -> None:
        for name in COLUMNS[COLUMNS.index("learning_rate") :]:
            if row.get(name) is not None:
                self._writer.add_scalar(_tag(name), row[name], row["step"])

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _tag(column: str) -> str:
    """`largest_loss` as `loss/largest`, so that one chart shows the classes side by side."""
    name, _, score = column.partition("_")
    return f"{score}/{name}" if name in CLASSES else column


def _as_csv(rows: Sequence[Mapping[str, Any]], header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue()


class ClassScores:
    """Training losses and accuracies by class of subnet (largest, smallest, random), since the row before."""

    def __init__(self, phase: PlannedPhase) -> None:
        self._ends = [("largest", phase.largest[:-1]), ("smallest", phase.smallest[:-1])]
        self._began = time.perf_counter()
        self._losses: list[float] = []
        self._by_class: dict[str, list[tuple[float, float]]] = {}

    def add(self, genotypes: Genotypes, found: StepScores) -> None:
        """One step's subnets `[n, G]`."""
        self._losses.append(float(found.losses.mean()))
        for genotype, loss, accuracy in zip(genotypes, found.losses, found.accuracies, strict=True):
            self._by_class.setdefault(self._class_of(genotype), []).append((float(loss), float(accuracy)))

    def skip_time(self) -> None:
        """An evaluation went by: the clock starts anew, unless steps are counted already."""
        if not self._losses:
            self._began = time.perf_counter()

    @property
    def loss(self) -> float:
        """The mean over steps and subnets."""
        return sum(self._losses) / len(self._losses)

    def means(self, batch_size: int) -> dict[str, float]:
        """A row's values."""
        row = {"loss": self.loss}
        for name, values in sorted(self._by_class.items()):
            row[f"{name}_loss"], row[f"{name}_batch_accuracy"] = (float(mean) for mean in np.mean(values, axis=0))
        row["images_per_s"] = len(self._losses) * batch_size / (time.perf_counter() - self._began)
        return row

    def _class_of(self, genotype: Genotypes) -> str:
        return next((name for name, end in self._ends if np.array_equal(genotype[:-1], end)), "random")


class Clock:
    """How long a run has taken, without interruptions, and how long it will: a step counts by its subnets."""

    def __init__(self, plan: Sequence[PlannedPhase], progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._began, self._before_s = time.perf_counter(), 0.0
        self._started_at = 0
        self._shown = -math.inf
        self._paced: tuple[float, int] | None = None

    def take_up(self, step: int, elapsed_s: float) -> None:
        """A resumed run stands at `step`, for which it took `elapsed_s`."""
        self._started_at, self._before_s = self._work(step), elapsed_s

    @property
    def elapsed_s(self) -> float:
        return round(self._before_s + time.perf_counter() - self._began, 3)

    def left_s(self, step: int) -> float:
        """At the speed of this session, its first step aside, in which kernels are made and workers start."""
        done, now = self._work(step), time.perf_counter()
        since, counted = self._paced or (self._began, self._started_at)
        if done == counted:
            since, counted = self._began, self._started_at
        return round((now - since) * (self._total - done) / max(1, done - counted), 1)

    def step_done(self, step: int) -> bool:
        """Whether it is time to show how far the run is, records or not."""
        if self._paced is None:
            self._paced = time.perf_counter(), self._work(step)
        return time.perf_counter() - self._shown > _SHOWN_EVERY_S

    def say(self, step: int, status: str) -> None:
        """What is done beside the steps, such as an evaluation."""
        self._progress(self._work(step) / self._total, status)

    def show(self, step: int, phase: PlannedPhase, row: Mapping[str, Any]) -> None:
        """Move the bar."""
        self._shown = time.perf_counter()
        speed = row["images_per_s"]
        status = (
            f"phase {phase.config.name} ({phase.index + 1} of {len(self._plan)})  loss {row['loss']:.3f}"
            f"  {speed:.{0 if speed >= 10 else 1}f} images/s  {time_in_words(row['left_s'])} left"
        )
        self._progress(self._work(step) / self._total, status)

    def _work(self, step: int) -> int:
        return sum(min(max(step - phase.start, 0), phase.steps) * phase.config.subnets_per_step for phase in self._plan)

    @property
    def _total(self) -> int:
        return self._work(self._plan[-1].end)
