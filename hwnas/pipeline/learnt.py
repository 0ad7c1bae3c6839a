"""What was learnt before a search, of its own run's supernet or of each of several, as the report shows it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from hwnas.pipeline.evaluate import Evaluated, ScoredPredictor
from hwnas.pipeline.profile import Profiled, TableSummary
from hwnas.pipeline.search.result import Searched
from hwnas.pipeline.store.folders import step_folder
from hwnas.pipeline.store.steps import read_document, read_result_as
from hwnas.pipeline.train import Trained

__all__ = ["LEARNING", "Learnt", "learnt_of"]

LEARNING = ("train", "evaluate", "profile")
"""The steps before a search."""

T = TypeVar("T")


@dataclass(frozen=True)
class Learnt:
    """The results of the steps before a search in `files`, by step. `space`: the name of the supernet's, where it is
    one of several.
    """

    files: dict[str, Path]
    space: str | None = None

    @property
    def roles(self) -> dict[str, Path]:
        """The files by what they are called where there are several."""
        return {step if self.space is None else f"{step} of {self.space}": path for step, path in self.files.items()}

    @property
    def seconds(self) -> dict[str, float]:
        """How long each step took."""
        return {role: read_document(path)["elapsed_s"] for role, path in self.roles.items()}

    @cached_property
    def trained(self) -> Trained:
        """What training found."""
        return self._read("train", Trained)

    @property
    def predictor(self) -> ScoredPredictor:
        """How good the accuracy predictor is."""
        return self._read("evaluate", Evaluated).accuracy_predictor

    @property
    def tables(self) -> tuple[TableSummary, ...]:
        """Latency tables, with the name of the space where it is one of several."""
        return tuple(replace(table, space=self.space) for table in self._read("profile", Profiled).tables)

    def supernet(self) -> dict[str, Any]:
        """What the report says of the training."""
        trained = self.trained
        return {
            "space": trained.space["name"],
            "subnets": trained.subnets,
            "parameters": trained.parameters,
            "train_s": trained.train_s,
            "accuracy_largest": trained.largest.held_out_accuracy if trained.largest else None,
            "accuracy_smallest": trained.smallest.held_out_accuracy if trained.smallest else None,
        }

    def _read(self, step: str, kind: type[T]) -> T:
        return read_result_as(kind, self.files[step])


def learnt_of(run_folder: Path) -> list[Learnt]:
    """Of the supernets that the search in a run's folder was of: one of the run itself, or each of the runs that were
    searched. Raises StorageError where the search's result is none.
    """
    searched = run_folder / "search" / "result.json"
    several = read_result_as(Searched, searched).supernets if searched.exists() else None
    if not several:
        return [Learnt({step: run_folder / step / "result.json" for step in LEARNING})]
    return [
        Learnt({step: step_folder(Path(one.run) / "search", step) / "result.json" for step in LEARNING}, one.name)
        for one in several
    ]
