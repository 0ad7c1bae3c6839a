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
from hwnas.training.identity import completed

__all__ = ["CheckpointFolder", "SavedState"]

_KEPT = 2
_KIND = "training state"


@dataclass(frozen=True)
class SavedState:
    """What a run continues from: `step` optimiser steps are done."""

    step: int
    tensors: Mapping[str, Tensor]
    history: list[dict[str, Any]]


class CheckpointFolder:
    """Checkpoints of one run, whose identity (space, data, config, seed: JSON-able) each of them carries."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder, self._identity = folder, identity

    def save(self, step: int, tensors: Mapping[str, Tensor], history: list[dict[str, Any]]) -> None:
        """Write a checkpoint, then remove all but the last two."""
        metadata = {"kind": _KIND, "step": step, "history": history, "identity": self._identity}
        write_checkpoint(self._folder / f"step-{step:08d}.safetensors", tensors, metadata)
        for old in self._files()[:-_KEPT]:
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
            if difference := self.difference(metadata.get("identity")):
                raise CheckpointError(
                    f"{path} is of another run: {difference}; go back to the former setting, or start afresh: choose"
                    f" another folder, or delete {self._folder}"
                )
            return SavedState(metadata["step"], tensors, metadata["history"])
        if failure is not None:
            raise failure
        return None

    def difference(self, identity: Mapping[str, Any] | None) -> str:
        """Where the run that `identity` is of differs from this one first; empty where it doesn't."""
        return describe_difference(self._identity, completed(identity or {}), "run")

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.safetensors"))


def read_history(path: Path) -> list[dict[str, Any]]:
    """The rows that a run recorded. Raises CheckpointError for a missing or truncated file."""
    rows: list[dict[str, Any]] = read_json(path, CheckpointError)["rows"]
    return rows
