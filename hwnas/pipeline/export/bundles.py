"""Making planned files into bundles: each file is checked once, then all are timed, then each gets its bundle."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.devices.fleet import Unit
from hwnas.export.formats import model_format
from hwnas.export.signature import fed_shape
from hwnas.files import locked
from hwnas.pipeline.config import ExportStep
from hwnas.pipeline.export.checks import checked_files, model_path, tvm_target
from hwnas.pipeline.export.plan import PlannedFile
from hwnas.pipeline.export.preflight import preflight_networks, tell_of_files
from hwnas.pipeline.export.result import ExportedFile
from hwnas.pipeline.export.subjects import Source
from hwnas.pipeline.latencies import MeasuredLatency, TimedFile, measure_latencies
from hwnas.pipeline.preflight import check_folders
from hwnas.pipeline.search.supernets import beside
from hwnas.pipeline.store.folders import step_folder
from hwnas.pipeline.store.plain import to_plain
from hwnas.pipeline.units import left_out_units
from hwnas.progress import Reporter

if TYPE_CHECKING:
    from hwnas.export.deploy import CheckedFile, Examples

__all__ = ["export_files"]

_STATE = "state"


def export_files(
    config: ExportStep,
    units: Sequence[Unit],
    planned: Sequence[PlannedFile],
    source: Source,
    folder: Path,
    reporter: Reporter,
) -> list[ExportedFile]:
    """What was written, in the order of `planned`. `units`: the devices that are asked for.

    Raises ExportError for the first file that fails, StorageError where another process exports into `folder`.
    """
    check_folders(list(dict.fromkeys(folder / file.folder.parent for file in planned)))
    state = folder / _STATE
    entries: list[ExportedFile] = []
    preflight_networks(config, units, planned, source, reporter)
    with locked(state / "lock"):
        checked = checked_files(config, units, planned, source, state, reporter)
        if config.module is not None:
            for note in dict.fromkeys(note for one in checked.values() for note in one.notes):
                reporter.say(f"export: {note}")
            tell_of_files(planned, {key: one.preflight for key, one in checked.items()}, reporter)
        shapes = {file.key: fed_shape(checked[file.key].signature.inputs) for file in planned}
        profiled = {step_folder(beside(folder, file.target.supernet), "profile") for file in planned}
        left_out = frozenset(unit for own in profiled for unit in left_out_units(own))
        latencies = _latencies(config, units, left_out, planned, shapes, state, reporter)
        with reporter.step(f"export: {len(planned)} bundles") as progress:
            for number, file in enumerate(planned):
                progress(number / len(planned), file.key)
                known = checked[file.key], source.of(file.target).examples, latencies[file.key]
                entries.append(_bundle(config, units, file, *known, state, folder))
        shutil.rmtree(state, ignore_errors=True)
    return entries


def _latencies(
    config: ExportStep,
    units: Sequence[Unit],
    left_out: frozenset[str],
    planned: Sequence[PlannedFile],
    shapes: Mapping[str, tuple[Any, ...]],
    state: Path,
    reporter: Reporter,
) -> dict[str, MeasuredLatency]:
    if not config.export.measure_latency:
        return {
            file.key: MeasuredLatency(threads=file.target.threads, reason="export.measure_latency=false")
            for file in planned
        }
    timed = [
        TimedFile(
            file.key, model_path(state, file), file.target.device, model_format(file.format).runtime,
            file.target.threads, shapes[file.key],
        )
        for file in planned
    ]  # fmt: skip
    return measure_latencies(
        units, config.profiling, timed, state / "latency", config.seed, reporter, config.executor, left_out
    )


def _bundle(
    config: ExportStep,
    units: Sequence[Unit],
    file: PlannedFile,
    checked: CheckedFile,
    examples: Examples,
    latency: MeasuredLatency,
    state: Path,
    folder: Path,
) -> ExportedFile:
    """Writes the file's bundle and says what it is."""
    from hwnas.export.bundle.manifest import Manifest, package_versions
    from hwnas.export.bundle.write import write_bundle
    from hwnas.export.deploy import runnable_here

    target, chosen = file.target, model_format(file.format)
    signature, accuracy = checked.signature, checked.accuracy
    inputs = [port.described(chosen.layout) for port in signature.inputs]
    manifest = Manifest(
        name=target.id, device=target.device, runtime=chosen.runtime, budget=target.budget, file="",
        format=file.format, precision=file.precision, bytes=checked.bytes, sha256=checked.sha256,
        arch=checked.arch, space=checked.space, classes=checked.classes,
        tvm_target=tvm_target(config, units, file), input_layout=chosen.layout,
        input_shape=inputs[0]["shape"],
        parity=checked.parity, accuracy=accuracy, float_layers=checked.float_layers,
        metrics={
            "predicted": target.predicted,
            "measured": {"latency_ms": latency.median_ms, "accuracy": accuracy["file"]},
        },
        latency=to_plain(latency), preflight=checked.preflight, golden={},
        data={"name": config.data.name, "licence": config.data.licence, "real_images": checked.parity["real"]},
        files={}, versions=package_versions(chosen), inputs=inputs,
        outputs=[port.described(chosen.output_layout) for port in signature.outputs],
        logits=checked.logits, notes=checked.notes,
    )  # fmt: skip
    model = model_path(state, file)
    feed = examples.feed(signature.inputs, 1, noise=config.export.inputs is not None)
    write_bundle(
        folder / file.folder, model, manifest, examples.preprocessing, signature, feed, config.export,
        runnable_here(model),
    )  # fmt: skip
    return ExportedFile(
        id=target.id,
        device=target.device,
        runtime=chosen.runtime,
        budget=target.budget,
        format=file.format,
        precision=file.precision,
        path=str(file.folder / f"model{chosen.suffix}"),
        bytes=checked.bytes,
        sha256=checked.sha256,
        parity_max_abs=checked.parity["max_abs"],
        top1_agreement=checked.parity["top1_agreement"],
        parity_images=checked.parity["images"],
        real_images=checked.parity["real"],
        accuracy=accuracy["file"],
        accuracy_torch=accuracy["torch"],
        accuracy_drop=accuracy["drop"],
        float_layers=tuple(checked.float_layers),
        latency_ms=latency.median_ms,
        latency_p10_ms=latency.p10_ms,
        latency_p90_ms=latency.p90_ms,
        latency_reason=latency.reason,
        preflight=tuple(checked.preflight),
        inputs=tuple(manifest.inputs),
        outputs=tuple(manifest.outputs),
        notes=tuple(checked.notes),
    )
