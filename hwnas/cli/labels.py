"""Measured accuracies on disk, so that an interrupted measurement goes on where it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.files import write_text
from hwnas.spaces import Genotypes, Space

__all__ = ["Labels"]


class Labels:
    """Measured accuracies in a CSV file, one subnet a row, written now and then while they come in."""

    WRITE_EVERY = 10

    def __init__(self, path: Path, space: Space, genotypes: Genotypes) -> None:
        self._path = path
        self._archs = [json.dumps(space.arch(genotype).to_dict()) for genotype in genotypes]
        self.known: NDArray[np.float64] = np.full(len(genotypes), np.nan)
        self._new = 0
        if path.exists():
            with path.open(newline="") as file:
                read = {row["arch"]: float(row["accuracy"]) for row in csv.DictReader(file)}
            self.known = np.array([read.get(arch, np.nan) for arch in self._archs])

    def add(self, row: int, accuracy: float) -> None:
        self.known[row] = accuracy
        self._new += 1
        if self._new % self.WRITE_EVERY == 0:
            self.write()

    def write(self) -> None:
        lines = ["arch,accuracy"]
        for arch, accuracy in zip(self._archs, self.known, strict=True):
            if not np.isnan(accuracy):
                quoted = arch.replace('"', '""')
                lines.append(f'"{quoted}",{float(accuracy)!r}')
        write_text(self._path, "\n".join(lines) + "\n")
