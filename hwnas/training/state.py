"""A training run on disk: the last two checkpoints, any of which continues it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hwnas.errors import CheckpointError
from hwnas.files import read_json
from hwnas.training.checkpoint import describe_difference, read_checkpoint, write_checkpoint
from hwnas.training.identity import as_continued, completed

__all__ = ["CheckpointFolder", "SavedState"]

_KEPT = 2
_KIND = "training state"


@dataclass(frozen=True)
class SavedState:
    """What a run continues from: `step` optimiser steps are done, the last by so many `processes`, the batch in so
    many `parts`.
    """

    step: int
    tensors: Mapping[str, Tensor]
    history: list[dict[str, Any]]
    processes: int
    parts: int


class CheckpointFolder:
    """Checkpoints of one run, whose identity (space, data, config, seed: JSON-able) each of them carries."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._identity = folder, identity

    def save(self, step: int, tensors: Mapping[str, Tensor], history: list[dict[str, Any]]) -> None:
        """Write a checkpoint, then remove all but the last two, and halves that a killed process left."""
        metadata = {"kind": _KIND, "step": step, "history": history, "identity": self._identity}
        write_checkpoint(self._path(step), tensors, metadata)
        for old in [*self._files()[:-_KEPT], *self._folder.glob(".step-*")]:
            old.unlink(missing_ok=True)

    def latest(self) -> SavedState | None:
        """The newest checkpoint that is whole, or None in an empty folder.

        Raises CheckpointError where it is of another run, naming what differs, and where none of them can be read.
        """
        failure: CheckpointError | None = None
        for path in reversed(self._files()):
            try:
                tensors, metadata = read_checkpoint(path)
            except CheckpointError as error:
                failure = failure or error
                continue
            return self._checked(path, tensors, metadata)
        if failure is not None:
            raise failure
        return None

    def at(self, step: int) -> SavedState:
        """The checkpoint of `step`. Raises CheckpointError as `latest` does, and where there is none."""
        path = self._path(step)
        return self._checked(path, *read_checkpoint(path))

    def difference(self, identity: Mapping[str, Any] | None) -> str:
        """Where the run that `identity` is of differs from this one first; empty where it doesn't."""
        return describe_difference(self._identity, as_continued(completed(identity or {}), self._identity), "run")

    def _checked(self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> SavedState:
        if difference := self.difference(metadata.get("identity")):
            raise CheckpointError(
                f"{path} is of another run: {difference}; go back to the former setting, or start afresh: choose"
                f" another folder, or delete {self._folder}"
            )
        training = completed(metadata["identity"])["training"]
        return SavedState(metadata["step"], tensors, metadata["history"], training["processes"], training["parts"])

    def _path(self, step: int) -> Path:
        return self._folder / f"step-{step:08d}.safetensors"

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.safetensors"))


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows that a run recorded. Raises CheckpointError for a missing or truncated file."""
    rows: list[dict[str, Any]] = read_json(path, CheckpointError)["rows"]
    return rows
