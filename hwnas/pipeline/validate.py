"""Exported files on their device and on the test images, predicted against measured."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import StorageError
from hwnas.export.signature import Port, fed_shape
from hwnas.pipeline.config import ValidateStep
from hwnas.pipeline.export.result import Exported, ExportedFile
from hwnas.pipeline.homes import Home, inputs_of
from hwnas.pipeline.inputs import (
    chosen_networks,
    input_path,
    load_images,
    load_network,
)
from hwnas.pipeline.on_device import DeviceFile, latencies_on_devices, of_asked_devices
from hwnas.pipeline.predictions import class_labels, write_pictures, write_predictions
from hwnas.pipeline.search.result import SearchEntry
from hwnas.pipeline.search.supernets import by_supernet
from hwnas.pipeline.store.plain import optional, to_plain
from hwnas.pipeline.store.steps import files_digest, read_result_as, run_step, step_of
from hwnas.pipeline.units import units_inputs, units_of
from hwnas.progress import SILENT, Progress, Reporter, no_progress, part
from hwnas.spaces import Space

if TYPE_CHECKING:
    import pandas as pd

    from hwnas.data.load import ImageData
    from hwnas.export.check.predict import Predictions
    from hwnas.profiling.validate import MeasuredNetwork

__all__ = ["Validated", "ValidatedTarget", "validate"]

_MEASURING = "measuring"


@dataclass(frozen=True, kw_only=True)
class ValidatedTarget:
    """An exported file on its device: `predicted_ms` by the table, `measured_ms` with the device's `drift` in it, the
    median of so many `samples`; `p10_ms` and `p90_ms` are their percentiles.

    Accuracies are fractions: `accuracy_predicted` on held-out images, the others on the test images: of the network by
    torch, of the file, with the supernet's weights (`inherited`), and the mean of `random_networks` of its latency.
    The balanced ones are means over the classes. `finetuned`: it has weights of its own. `parity_max_abs`: the file's
    largest difference from torch. `predictions`: a CSV file of the step's folder, a row a test image, of what the file
    answers in its runtime on this machine (see `hwnas.pipeline.predictions`); None in older results, as those are.
    `unit`: which of a fleet's devices of one model measured it; None where there is one.
    """

    id: str
    device: str
    runtime: str
    precision: str | None
    threads: int | None
    budget: str
    budget_ms: float
    predicted_ms: float
    measured_ms: float
    drift: float
    p10_ms: float
    p90_ms: float
    samples: int
    accuracy_predicted: float
    accuracy_torch: float
    accuracy_inherited: float
    finetuned: bool
    accuracy_random: float | None
    random_networks: int
    accuracy_exported: float
    parity_max_abs: float
    macs: int
    parameters: int
    bytes: int
    arch: dict[str, Any]
    file: str
    balanced_accuracy_torch: float | None = optional()
    balanced_accuracy_exported: float | None = optional()
    predictions: str | None = optional()
    unit: str | None = optional()


@dataclass(frozen=True)
class Validated:
    """All targets of a search. `classes`: what their `predictions` call the classes; `images_by_class`: how many images
    of each the parts of the data have.
    """

    targets: tuple[ValidatedTarget, ...]
    classes: tuple[str, ...] | None = optional()
    images_by_class: dict[str, list[int]] | None = optional()

    def to_frame(self) -> pd.DataFrame:
        """One row a target."""
        import pandas as pd

        return pd.DataFrame([to_plain(target) for target in self.targets])


@dataclass(frozen=True)
class _Accuracy:
    accuracy_torch: float
    balanced_accuracy_torch: float
    accuracy_inherited: float
    finetuned: bool
    accuracy_random: float | None
    random_networks: int


@step_of(ValidateStep)
def validate(config: ValidateStep, folder: Path, reporter: Reporter = SILENT) -> Validated:
    """The verified targets, made or read (see `hwnas.pipeline.store.steps`). The one step that looks at test accuracy.

    >>> config = hwnas.load_config(["experiment=smoke"])
    >>> validated = hwnas.validate(config, "runs/mine/validate")
    >>> validated.to_frame().set_index("id")["accuracy_exported"].between(0, 1).all().item()
    True
    """
    units = units_of(config)
    chosen, selected = chosen_networks(config.targets, config, folder, SearchEntry)
    selected = of_asked_devices(selected, units, chosen, reporter.note)
    exported = input_path(config.exported, folder, "export", "", "exported")
    files = _files_of(selected, read_result_as(Exported, exported / "result.json").files)
    if missing := [target.id for target in selected if target.id not in files]:
        raise StorageError(
            f"{exported} holds no file for {', '.join(missing)} in its own runtime and precision: run hwnas export for"
            f" {chosen}, without formats and precisions or with those"
        )
    models = {target.id: exported / files[target.id].path for target in selected}
    homes = [Home.of(config, units, folder, *one) for one in by_supernet(selected)]
    own = {f"checkpoint of {target.id}": Path(target.checkpoint) for target in selected if target.checkpoint}
    read = {role: file for home in homes for role, file in home.files.items()}
    inputs = {
        **inputs_of(homes),
        "measure": to_plain(config.evaluation.measure),
        **units_inputs(units),
        "profiling": to_plain(config.profiling),
        "files": files_digest({**read, "chosen networks": chosen, **models, **own}),
    }

    def work() -> Validated:
        latencies: dict[str, tuple[MeasuredNetwork, str | None]] = {}
        for place, home in enumerate(homes):
            fed = {
                target.id: DeviceFile(models[target.id], fed_shape([Port.of(one) for one in files[target.id].inputs]))
                for target in home.selected
            }
            at = folder if len(homes) == 1 else folder / _MEASURING / str(place)
            latencies |= latencies_on_devices(home.config, home.space, home.devices, home.selected, fed, at, reporter)
        shutil.rmtree(folder / _MEASURING, ignore_errors=True)
        images = [load_images(home.config, home.space, reporter.note, home.checkpoint) for home in homes]
        data = images[0]
        with reporter.step(f"validate: accuracy of {len(selected)} files on {len(data.test)} test images") as progress:
            digests = {target.id: files[target.id].sha256 for target in selected}
            predicted: dict[str, Predictions] = {}
            for place, (home, own_data) in enumerate(zip(homes, images, strict=True)):
                bar = part(progress, place, len(homes))
                predicted |= _predictions_of_files(home.selected, models, digests, own_data, bar)
            files_of_predictions = write_predictions(folder, {one.id: predicted[one.id] for one in selected}, data)
            write_pictures(folder, files_of_predictions, data)
        accuracy: dict[str, _Accuracy] = {}
        for home, own_data in zip(homes, images, strict=True):
            accuracy |= _accuracy_of_networks(
                home.config, home.space, home.checkpoint, home.selected, own_data, reporter
            )
        targets = tuple(
            ValidatedTarget(
                id=target.id,
                device=target.device,
                runtime=target.runtime,
                precision=target.precision,
                threads=target.threads,
                budget=target.budget,
                budget_ms=target.budget_ms,
                predicted_ms=target.latency_ms,
                **asdict(latencies[target.id][0]),
                unit=latencies[target.id][1],
                accuracy_predicted=target.accuracy_predicted,
                **asdict(accuracy[target.id]),
                accuracy_exported=predicted[target.id].accuracy,
                balanced_accuracy_exported=predicted[target.id].balanced_accuracy,
                predictions=files_of_predictions[target.id],
                parity_max_abs=files[target.id].parity_max_abs,
                macs=target.macs,
                parameters=target.parameters,
                bytes=files[target.id].bytes,
                arch=target.arch,
                file=str(models[target.id].resolve()),
            )
            for target in selected
        )
        return Validated(targets, class_labels(data), data.images_by_class())

    return run_step("validate", folder, inputs, config.seed, Validated, work, reporter.say)


def _files_of(selected: Sequence[SearchEntry], files: Sequence[ExportedFile]) -> dict[str, ExportedFile]:
    """Each target's file by the target's id: that in its runtime and precision, of all that were exported."""
    wanted = {(target.id, target.runtime, target.precision) for target in selected}
    return {file.id: file for file in files if (file.id, file.runtime, file.precision) in wanted}


def _predictions_of_files(
    selected: Sequence[SearchEntry],
    models: Mapping[str, Path],
    digests: Mapping[str, str],
    data: ImageData,
    progress: Progress,
) -> dict[str, Predictions]:
    """Those of each file; files that are the same byte for byte, as of a network that devices share, are run once."""
    from hwnas.export.check.feed import PixelFeed
    from hwnas.export.check.predict import predict
    from hwnas.export.formats import format_of_file

    found: dict[str, Predictions] = {}
    for number, target in enumerate(selected):
        progress(number / len(selected), target.id)
        path, digest = models[target.id], digests[target.id]
        if digest not in found:
            run = format_of_file(path).load_runner(path)
            found[digest] = predict(run, PixelFeed(data.test, target.arch["r"], data.preprocessing))
    return {target.id: found[digests[target.id]] for target in selected}


def _accuracy_of_networks(
    config: ValidateStep,
    space: Space,
    checkpoint: Path,
    selected: Sequence[SearchEntry],
    data: ImageData,
    reporter: Reporter,
) -> dict[str, _Accuracy]:
    """By torch: each chosen network as deployed and with the supernet's weights, and random ones of the same predicted
    latency, with the supernet's weights too.
    """
    from hwnas.accuracy.measure import measure_accuracies

    measure = config.evaluation.measure
    archs = [arch for target in selected for arch in (target.arch, *target.random_archs)]
    genotypes = np.stack([space.genotype(arch) for arch in archs])
    title = f"validate: test accuracy of the chosen and {len(archs) - len(selected)} random networks, by torch"
    with reporter.step(title) as progress:
        supernet = load_network(checkpoint, space)
        distinct, place = np.unique(genotypes, axis=0, return_inverse=True)
        measured = measure_accuracies(supernet, distinct, data, "test", measure, progress)
        tuned = {}
        for target in selected:
            if target.checkpoint is not None:
                network, row = load_network(Path(target.checkpoint), space), space.genotype(target.arch)
                tuned[target.id] = measure_accuracies(network, row[None], data, "test", measure, no_progress)
    found: dict[str, _Accuracy] = {}
    rows = iter(place.reshape(-1))
    for target in selected:
        own = next(rows)
        inherited = measured.accuracy[own]
        random = [measured.accuracy[next(rows)] for _ in target.random_archs]
        deployed, at = (tuned[target.id], 0) if target.id in tuned else (measured, own)
        found[target.id] = _Accuracy(
            accuracy_torch=float(deployed.accuracy[at]),
            balanced_accuracy_torch=float(deployed.balanced[at]),
            accuracy_inherited=float(inherited),
            finetuned=target.id in tuned,
            accuracy_random=float(np.mean(random)) if random else None,
            random_networks=len(random),
        )
    return found
