"""Exported files on their device and on the test images, predicted against measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hwnas.errors import StorageError
from hwnas.latency.tables.table import read_table
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import (
    chosen_networks,
    data_inputs,
    device_inputs,
    input_path,
    load_images,
    load_network,
    resolve_space,
    table_files,
    tables_of,
    trained_checkpoint,
)
from hwnas.pipeline.plain import to_plain
from hwnas.pipeline.steps import files_digest, read_result, run_step
from hwnas.progress import SILENT, Progress, Reporter, no_progress
from hwnas.spaces import Space

if TYPE_CHECKING:
    from hwnas.data.load import ImageData

__all__ = ["validate"]


def validate(config: PipelineConfig, folder: Path, reporter: Reporter = SILENT) -> dict[str, Any]:
    """The verified targets, made or read (see `hwnas.pipeline.steps`). The one step that looks at test accuracy."""
    space = resolve_space(config)
    checkpoint = trained_checkpoint(config, folder)
    chosen, selected = chosen_networks(config, folder)
    exported = input_path(config.exported, folder, "export", "", "exported")
    files = _files_of(selected, read_result(exported / "result.json")["files"])
    if missing := [target["id"] for target in selected if target["id"] not in files]:
        raise StorageError(
            f"{exported} holds no file for {', '.join(missing)} in its own runtime and precision: run hwnas export for"
            f" {chosen}, without formats and precisions or with those"
        )
    models = {target["id"]: exported / files[target["id"]]["path"] for target in selected}
    tables = tables_of(config, input_path(config.latency.path, folder, "profile", "", "latency.path"))
    read = {f"{runtime} {role}": file for runtime, path in tables.items() for role, file in table_files(path).items()}
    read |= {f"checkpoint of {target['id']}": target["checkpoint"] for target in selected if target["checkpoint"]}
    inputs = {
        "space": space.config(),
        "data": data_inputs(config.data_config),
        "measure": to_plain(config.evaluation.measure),
        "device": device_inputs(config.device),
        "profiling": to_plain(config.profiling),
        "files": files_digest({"checkpoint": checkpoint, "chosen networks": chosen, **models, **read}),
    }

    def work() -> dict[str, Any]:
        latencies = _measure_latencies(config, space, tables, selected, models, folder, reporter)
        data = load_images(config, space, reporter.note, checkpoint)
        with reporter.step(f"validate: accuracy of {len(selected)} files on {len(data.test)} test images") as progress:
            exported_accuracy = _accuracy_of_files(selected, models, data, progress)
        accuracy = _accuracy_of_networks(config, space, checkpoint, selected, data, reporter)
        targets = [
            {
                "id": target["id"],
                "device": target["device"],
                "runtime": target["runtime"],
                "precision": target["precision"],
                "threads": target["threads"],
                "budget": target["budget"],
                "budget_ms": target["budget_ms"],
                "predicted_ms": target["latency_ms"],
                **latencies[target["id"]],
                "accuracy_predicted": target["accuracy_predicted"],
                **accuracy[target["id"]],
                "accuracy_exported": exported_accuracy[target["id"]],
                "parity_max_abs": files[target["id"]]["parity_max_abs"],
                "macs": target["macs"],
                "parameters": target["parameters"],
                "bytes": files[target["id"]]["bytes"],
                "arch": target["arch"],
                "file": str(models[target["id"]].resolve()),
            }
            for target in selected
        ]
        return {"targets": targets}

    return run_step("validate", folder, inputs, config.seed, work, reporter.say)


def _files_of(
    selected: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """Each target's file by the target's id: that in its runtime and precision, of all that were exported."""
    wanted = {(target["id"], target["runtime"], target["precision"]) for target in selected}
    return {file["id"]: file for file in files if (file["id"], file["runtime"], file["precision"]) in wanted}


def _measure_latencies(
    config: PipelineConfig,
    space: Space,
    tables: Mapping[str, Path],
    selected: Sequence[Mapping[str, Any]],
    models: Mapping[str, Path],
    folder: Path,
    reporter: Reporter,
) -> dict[str, dict[str, Any]]:
    from hwnas.devices.connect import connect
    from hwnas.devices.profile import load_profile
    from hwnas.profiling.validate import measure_networks

    device = load_profile(config.device.name)
    found: dict[str, dict[str, Any]] = {}
    for runtime, path in tables.items():
        mine = {target["id"]: models[target["id"]] for target in selected if target["runtime"] == runtime}
        if not mine:
            continue
        settings = replace(config.profiling, runtime=runtime)
        title = f"validate: latency of {len(mine)} files on {device.name}, {settings.setting}"
        with reporter.step(title) as progress, connect(device, config.device) as transport:
            measured = measure_networks(
                mine, read_table(path), space, transport, settings, folder, config.seed, progress
            )
        for name, one in measured.items():
            found[name] = {
                "measured_ms": one.measured_ms,
                "drift": one.drift,
                "p10_ms": one.p10_ms,
                "p90_ms": one.p90_ms,
                "samples": one.samples,
            }
    return found


def _accuracy_of_files(
    selected: Sequence[Mapping[str, Any]], models: Mapping[str, Path], data: ImageData, progress: Progress
) -> dict[str, float]:
    from hwnas.export.check.answers import accuracy_of
    from hwnas.export.check.feed import PixelFeed
    from hwnas.export.formats import format_of_file

    found = {}
    for number, target in enumerate(selected):
        progress(number / len(selected), target["id"])
        path = models[target["id"]]
        run = format_of_file(path).load_runner(path)
        found[target["id"]] = accuracy_of(run, PixelFeed(data.test, target["arch"]["r"], data.preprocessing))
    return found


def _accuracy_of_networks(
    config: PipelineConfig,
    space: Space,
    checkpoint: Path,
    selected: Sequence[Mapping[str, Any]],
    data: ImageData,
    reporter: Reporter,
) -> dict[str, dict[str, Any]]:
    """By torch: each chosen network as deployed and with the supernet's weights, and random ones of the same predicted
    latency, with the supernet's weights too.
    """
    from hwnas.accuracy.measure import measure_accuracy

    measure = config.evaluation.measure
    archs = [arch for target in selected for arch in (target["arch"], *target["random_archs"])]
    genotypes = np.stack([space.genotype(arch) for arch in archs])
    title = f"validate: test accuracy of the chosen and {len(archs) - len(selected)} random networks, by torch"
    with reporter.step(title) as progress:
        supernet = load_network(checkpoint, space)
        distinct, place = np.unique(genotypes, axis=0, return_inverse=True)
        measured = measure_accuracy(supernet, distinct, data, "test", measure, progress)
        tuned = {}
        for target in selected:
            if target["checkpoint"] is not None:
                network, row = load_network(target["checkpoint"], space), space.genotype(target["arch"])
                (tuned[target["id"]],) = measure_accuracy(network, row[None], data, "test", measure, no_progress)
    accuracies = list(measured[place.reshape(-1)])
    found: dict[str, dict[str, Any]] = {}
    for target in selected:
        inherited, random = float(accuracies.pop(0)), [float(accuracies.pop(0)) for _ in target["random_archs"]]
        found[target["id"]] = {
            "accuracy_torch": float(tuned.get(target["id"], inherited)),
            "accuracy_inherited": inherited,
            "finetuned": target["id"] in tuned,
            "accuracy_random": float(np.mean(random)) if random else None,
            "random_networks": len(random),
        }
    return found
