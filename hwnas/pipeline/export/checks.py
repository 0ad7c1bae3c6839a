"""Planned files written and checked, each once: what was found before a kill is kept in `state/` and not done again.

Workers of the executor share the work where there is enough of it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hwnas.devices.fleet import Unit
from hwnas.errors import StorageError
from hwnas.executors.choose import open_executor
from hwnas.executors.config import ExecutorConfig
from hwnas.export.formats import model_format
from hwnas.files import read_json, sha256_of_file, write_json
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.export.plan import PlannedFile
from hwnas.pipeline.export.preflight import preflight_file
from hwnas.pipeline.export.subjects import Source
from hwnas.pipeline.units import units_named
from hwnas.progress import Progress, Reporter, no_progress, part

if TYPE_CHECKING:
    from hwnas.export.deploy import CheckedFile, Subject

__all__ = ["checked_files", "model_path", "tvm_target"]

_FILES_PER_PROCESS = 4  # of fewer, a process would spend more time on its start than on its work


class FileChecker:
    """Writes and checks planned files by their number. Picklable: a copy loads images and weights itself."""

    def __init__(
        self, config: ExportStep, units: Sequence[Unit], planned: Sequence[PlannedFile], source: Source, state: Path
    ) -> None:
        self.config, self.units, self.planned, self.source, self.state = config, units, planned, source, state
        self._subjects: dict[str, Subject] = {}  # of one network: more would fill the memory

    def __call__(self, number: int, progress: Progress = no_progress) -> None:
        """Keeps what it finds for `kept`. Raises ExportError where the file fails."""
        from hwnas.export.deploy import export_checked

        file = self.planned[number]
        model = model_path(self.state, file)
        if file.target.id not in self._subjects:
            self._subjects = {file.target.id: self.source.of(file.target).subject(file.target, progress)}
        checked = export_checked(
            self._subjects[file.target.id], file.format, file.precision, model, self.source.of(file.target).examples,
            replace(self.config.export, tvm_target=tvm_target(self.config, self.units, file)), progress,
        )  # fmt: skip
        checked = replace(checked, preflight=preflight_file(self.config, self.units, file, model))
        write_json(model.with_suffix(".json"), asdict(checked))

    def kept(self, number: int) -> CheckedFile | None:
        """What was found of the file, here or in an interrupted run, where it is whole."""
        from hwnas.export.deploy import CheckedFile

        model = model_path(self.state, self.planned[number])
        try:
            checked = CheckedFile(**read_json(model.with_suffix(".json")))
        except (StorageError, TypeError):
            return None
        return checked if model.is_file() and sha256_of_file(model) == checked.sha256 else None


def checked_files(
    config: ExportStep,
    units: Sequence[Unit],
    planned: Sequence[PlannedFile],
    source: Source,
    state: Path,
    reporter: Reporter,
) -> dict[str, CheckedFile]:
    """What was found of each file, by its key. Raises ExportError for the first one that fails."""
    checker = FileChecker(config, units, planned, source, state)
    held_out = source.of(planned[0].target).examples.held_out
    images = "noise, for want of real images" if held_out is None else f"{len(held_out)} held-out images"
    pending = [number for number in range(len(planned)) if checker.kept(number) is None]
    worthwhile = -(-len(pending) // _FILES_PER_PROCESS)
    executor = config.executor.limited(min(config.export.processes or worthwhile, worthwhile))
    with reporter.step(f"export: {len(planned)} files, checked against torch on {images}") as progress:
        if executor.is_this_process:
            for done, number in enumerate(pending):
                checker(number, part(progress, done, len(pending)))
        elif pending:
            _check_elsewhere(executor, checker, pending, progress)
    found = {file.key: checker.kept(number) for number, file in enumerate(planned)}
    if missing := [key for key, checked in found.items() if checked is None]:
        raise StorageError(f"{state}: {missing[0]} was changed while it was made; run hwnas export again")
    return {key: checked for key, checked in found.items() if checked is not None}


def tvm_target(config: ExportStep, units: Sequence[Unit], file: PlannedFile) -> str | None:
    """What a library is compiled for: as configured, else as the device's profile says; None for other formats."""
    if not model_format(file.format).compiles_for_target:
        return None
    return config.export.tvm_target or units_named(units, file.target.device)[0].profile.tvm_target


def model_path(state: Path, file: PlannedFile) -> Path:
    """Where a file is before it is in its bundle; beside it, as JSON, what was found of it."""
    return state / f"{file.key}{model_format(file.format).suffix}"


def _check_elsewhere(config: ExecutorConfig, checker: FileChecker, pending: Sequence[int], progress: Progress) -> None:
    with open_executor(config) as executor:
        shares = _shares(checker.planned, pending, executor.workers)
        checked = executor.each(
            "export", partial(_checked_one_by_one, checker), shares, partial(_begin, executor.threads)
        )
        done = 0
        for place, _ in checked:
            done += len(shares[place])
            progress(done / len(pending), checker.planned[shares[place][-1]].key)


def _checked_one_by_one(checker: FileChecker, numbers: Sequence[int]) -> None:
    for number in numbers:
        checker(number)


def _shares(planned: Sequence[PlannedFile], pending: Sequence[int], workers: int) -> list[list[int]]:
    """What workers are handed: a network's files, since a worker examines each network that it comes upon; single files
    where there are too few networks to go round. A network's last files, ExecuTorch's and TVM's, take longest: begun
    first, they don't end last.
    """
    of_network: dict[str, list[int]] = {}
    for number in pending:
        of_network.setdefault(planned[number].target.id, []).insert(0, number)
    if len(of_network) >= 2 * workers:
        return list(of_network.values())
    return [[number] for numbers in of_network.values() for number in numbers]


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    with suppress(ImportError):
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())  # its own is a lock among processes, left behind by one that is killed
