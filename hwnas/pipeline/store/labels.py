"""Measured accuracies on disk, so that an interrupted measurement goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwnas.csv_files import read_csv
from hwnas.errors import StorageError
from hwnas.files import write_text
from hwnas.spaces import Genotypes, Space

__all__ = ["Labels"]


class Labels:
    """Measured accuracies in a CSV file, one subnet a row, written now and then while they come in.

    Raises StorageError where the file is not as it was written.
    """

    WRITE_EVERY = 10

    def __init__(self, path: Path, space: Space, genotypes: Genotypes) -> None:
        self._path = path
        self._archs = [json.dumps(space.arch(genotype).to_dict()) for genotype in genotypes]
        self.known: NDArray[np.float64] = np.full(len(genotypes), np.nan)
        self._new = 0
        if path.exists():
            read = _read(path)
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


_REMEDY = "delete it, and the same command measures again"


def _read(path: Path) -> dict[str, float]:
    table = read_csv(path, StorageError, _REMEDY, closed=True, rows_needed=False)
    if set(table.columns) != {"arch", "accuracy"}:
        raise StorageError(f"{path}, row 1: expected columns arch, accuracy, got {', '.join(table.columns)}; {_REMEDY}")
    found: dict[str, float] = {}
    for row in table.rows:
        arch, text = row.values["arch"], row.values["accuracy"]
        try:
            accuracy = table.number(text)
        except ValueError:
            accuracy = np.nan
        if not 0 <= accuracy <= 1:
            raise StorageError(f"{row.place}: accuracy is {text!r}, expected a number from 0 to 1; {_REMEDY}")
        if arch in found:
            raise StorageError(f"{row.place}: this network stands in an earlier row already; {_REMEDY}")
        found[arch] = accuracy
    return found
