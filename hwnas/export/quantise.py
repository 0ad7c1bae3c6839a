"""Quantised files that keep their accuracy: exported, measured, and where they lose too much, partly left float."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.errors import ExportError
from hwnas.export.formats import LogitsRunner, ModelFormat
from hwnas.export.request import ExportRequest, ExportState
from hwnas.files import atomic_path
from hwnas.progress import Progress, no_progress

__all__ = ["QuantisedFile", "export_quantised"]

_RANKING_IMAGES = 32  # the order of layers correlates to 0.94 with that of 256 other ones (docs/quantisation.md)


@dataclass(frozen=True)
class QuantisedFile:
    """A file, its accuracy, what it loses against the float network (both fractions), and what stayed float in it."""

    path: Path
    accuracy: float
    accuracy_drop: float
    float_layers: tuple[str, ...]


def export_quantised(
    chosen: ModelFormat,
    request: ExportRequest,
    path: Path | str,
    accuracy: Callable[[LogitsRunner], float],
    float_accuracy: float,
    progress: Progress = no_progress,
) -> QuantisedFile:
    """Write `request` as a file of `chosen` that loses at most `config.max_accuracy_drop`, and say what it loses.

    `accuracy` is measured on held-out images, `float_accuracy` is the float network's there. Where a file loses more,
    and `config.mixed_precision` is on, the layers whose errors are largest stay float: one, then 2, 4, 8 …, fewer than
    all, until the bound holds. Where the format simulates its files, only one that promises to hold the bound is
    written. If it never does, the most accurate of these files is kept with `config.allow_accuracy_drop`; else
    ExportError is raised, and `path` is as it was. Raises what `chosen.export` raises, and StorageError before any work
    where `path` can't be written.
    """
    path, bound = Path(path), request.config.max_accuracy_drop
    tried: list[QuantisedFile] = []
    with atomic_path(path) as written, tempfile.TemporaryDirectory() as folder:
        state = chosen.start(request)

        def judged(run: LogitsRunner, float_layers: tuple[str, ...], file: Path) -> QuantisedFile:
            found = accuracy(run)
            return QuantisedFile(file, found, float_accuracy - found, float_layers)

        def finished(float_layers: tuple[str, ...], file: Path) -> QuantisedFile:
            return judged(chosen.load_runner(chosen.finish(state.keeping(float_layers), file)), float_layers, file)

        for float_layers in _choices(chosen, state, Path(folder)):
            file, found = _candidate(chosen, folder, len(tried)), None
            if chosen.simulate is not None:
                found = judged(chosen.simulate(state.keeping(float_layers)), float_layers, file)
            if found is None or found.accuracy_drop <= bound:
                found = finished(float_layers, file)
            tried.append(found)
            said = f"{request.precision}, {len(float_layers)} layers float: {found.accuracy:.4f}"
            progress(1 - 0.5 ** len(tried), said)
            if found.accuracy_drop <= bound:
                break
        best = max(tried, key=lambda file: file.accuracy)  # the first of equals: it has the fewest float layers
        if best.accuracy_drop > bound and not request.config.allow_accuracy_drop:
            raise ExportError(_refusal(chosen, request, tried))
        if not best.path.exists():
            best = finished(best.float_layers, best.path)
        shutil.copyfile(best.path, written)
    return replace(best, path=path)


def _candidate(chosen: ModelFormat, folder: str | Path, number: int) -> Path:
    return Path(folder) / f"{number}{chosen.suffix}"


def _choices(chosen: ModelFormat, state: ExportState, folder: Path) -> Iterator[tuple[str, ...]]:
    """What to leave float, in the order of trying. When the second is asked for, the first file must be there, unless
    the format simulates it.

    Layers are ranked only then.
    """
    request = state.request
    yield request.float_layers
    images, integer = request.calibration, request.precision in ("int8", "int8_dynamic")
    if chosen.layer_errors is None or images is None or not integer or not request.config.mixed_precision:
        return
    ranked = replace(state, request=replace(request, calibration=images[:_RANKING_IMAGES]))
    worst, count = list(chosen.layer_errors(ranked, _candidate(chosen, folder, 0))), 1
    while count < len(worst):
        yield (*request.float_layers, *worst[:count])
        count *= 2


def _refusal(chosen: ModelFormat, request: ExportRequest, tried: Sequence[QuantisedFile]) -> str:
    first, best = tried[0], max(tried, key=lambda file: file.accuracy)
    mixed = [len(file.float_layers) - len(request.float_layers) for file in tried[1:]]
    attempt = (
        f"; with the {', '.join(map(str, mixed))} most sensitive layers in float at best {best.accuracy_drop * 100:.2f}"
        if mixed
        else ""
    )
    fewer = request.precision == "int8"
    return (
        f"{chosen.name} export: {request.precision} loses {first.accuracy_drop * 100:.2f} points of accuracy"
        f" ({(first.accuracy + first.accuracy_drop) * 100:.2f} to {first.accuracy * 100:.2f} %){attempt};"
        f" export.max_accuracy_drop allows {request.config.max_accuracy_drop * 100:g}: finetune with"
        f" training=quantisation_aware, {'raise export.calibration_images, ' if fewer else ''}"
        f"{'' if request.config.mixed_precision else 'give export.mixed_precision=true, '}"
        "or give export.allow_accuracy_drop=true"
    )
