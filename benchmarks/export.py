"""Exported files of a trained supernet's subnets: parity, accuracy, latency beside a plain export, time and memory.

    python benchmarks/export.py --experiment cifar10 --set data.root=/path --checkpoint F/supernet.safetensors --json F

For the smallest, the largest and a random subnet: every format and precision is written in a process of its own, which
gives the time for all of them, checks included, and the peak of its memory. Files are checked as `hwnas export` does
it, on held-out images; a quantised one keeps layers float until it loses half a point or less. Latency: all files of a
runtime take turns in one measurement on this machine, the file that a plain `torch.onnx.export` or litert-torch call
writes among them, and a ratio is of medians with drift divided out. `hwnas export` then writes the same files as its
users have it, with as many processes as there are cores. Beside F a markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import about, described
from timed_training import hwnas
from torch import nn

from hwnas import load_config
from hwnas.accuracy.measure import calibrate_subnet
from hwnas.data.load import ImageData
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.export.config import ExportConfig
from hwnas.export.deploy import Examples, Subject, export_checked
from hwnas.export.formats import FORMATS, model_format
from hwnas.export.quiet import quiet
from hwnas.files import write_json, write_text
from hwnas.pipeline.config import PipelineConfig
from hwnas.pipeline.inputs import load_images, load_network
from hwnas.pipeline.space import resolve_space
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.progress import SILENT, no_progress
from hwnas.spaces import Space

PLAIN = "plain call"


def main() -> None:
    arguments = parse()
    config, space, data = opened(arguments)
    examples = examples_of(data, arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, subject in subjects(arguments, config, space, data, examples):
            print(name, flush=True)
            found_of_net = measured(subject, examples, Path(folder) / name, arguments)
            command_s = by_command(subject, Path(folder) / name / "command", arguments)
            rows.append({"net": name, **found_of_net, "command_s": command_s})
            found = {
                "about": about("torch", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch", "apache-tvm"),
                "settings": {
                    "images": arguments.images,
                    "threads": arguments.threads,
                    "experiment": config.name,
                    "max_accuracy_drop": arguments.max_accuracy_drop,
                },
                "nets": rows,
            }
            write_json(arguments.json, found)
            write_text(arguments.json.with_suffix(".md"), markdown(found))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="quickstart")
    parser.add_argument("--set", nargs="*", default=[], metavar="key=value", help="more settings, such as data.root=…")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--max-accuracy-drop", type=float, default=0.005)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--nets", nargs="+", default=["smallest", "random", "largest"])
    return parser.parse_args()


def opened(arguments: argparse.Namespace) -> tuple[PipelineConfig, Space, ImageData]:
    overrides = [f"experiment={arguments.experiment}", *arguments.set]
    config = load_config(overrides)
    space = resolve_space(config)
    return config, space, load_images(config, space, SILENT.say)


def examples_of(data: ImageData, arguments: argparse.Namespace) -> Examples:
    return Examples(data.classes, data.preprocessing, data.train, data.held_out.first(arguments.images))


def subjects(
    arguments: argparse.Namespace, config: PipelineConfig, space: Space, data: ImageData, examples: Examples
) -> Iterator[tuple[str, Subject]]:
    supernet = load_network(arguments.checkpoint, space)
    rows = {
        "smallest": space.extreme(largest=False),
        "random": space.sample(1, np.random.default_rng(config.seed))[0],
        "largest": space.extreme(largest=True),
    }
    for name in arguments.nets:
        module, arch = calibrate_subnet(supernet, rows[name], data, config.evaluation.measure), space.arch(rows[name])
        yield (
            name,
            Subject.of(
                module, arch.values["r"], arch.to_dict(), space.config(), examples, settings(arguments), no_progress
            ),
        )


def settings(arguments: argparse.Namespace) -> ExportConfig:
    """Layers stay float until int8 loses no more than half a point; whatever it loses then is stated, not refused."""
    return ExportConfig(
        parity_images=arguments.images, fp16_tolerance=1.0, max_accuracy_drop=arguments.max_accuracy_drop,
        allow_accuracy_drop=True,
    )  # fmt: skip


def measured(subject: Subject, examples: Examples, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    folder.mkdir(parents=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        written, export_s, peak_mib = pool.apply(write_all, (subject, examples, folder, arguments))
    shape = (1, examples.channels, subject.resolution, subject.resolution)
    latencies = latency({key: path for key, (path, _) in written.items()}, shape, folder, arguments.threads)
    files = [
        {"format": key[0], "precision": key[1], "bytes": path.stat().st_size, **known, **latencies.get(key, {})}
        for key, (path, known) in written.items()
    ]
    return {"accuracy_torch": subject.answers.accuracy, "export_s": export_s, "export_peak_mib": peak_mib,
            "files": files}  # fmt: skip


def by_command(subject: Subject, folder: Path, arguments: argparse.Namespace) -> float:
    """Seconds that `hwnas export` takes for all files, checks and its own start included."""
    arch = ", ".join(f"{key}: {json.dumps(value)}" for key, value in subject.arch.items())
    formats = [model_format(name) for name in arguments.formats]
    precisions = dict.fromkeys(precision for chosen in formats for precision in chosen.precisions)
    own = settings(arguments)
    overrides = [
        f"experiment={arguments.experiment}", *arguments.set, f"checkpoint={arguments.checkpoint.resolve()}",
        f"arch={{{arch}}}", f"formats=[{','.join(arguments.formats)}]", f"precisions=[{','.join(precisions)}]",
        f"evaluation.measure.images={arguments.images}", "export.measure_latency=false",
        f"export.parity_images={own.parity_images}", f"export.fp16_tolerance={own.fp16_tolerance}",
        f"export.max_accuracy_drop={own.max_accuracy_drop}", "export.allow_accuracy_drop=true",
    ]  # fmt: skip
    start = time.perf_counter()
    hwnas("export", folder, overrides)
    return round(time.perf_counter() - start, 1)


def write_all(
    subject: Subject, examples: Examples, folder: Path, arguments: argparse.Namespace
) -> tuple[dict[tuple[str, str], tuple[Path, dict[str, Any]]], float, float]:
    """Every checked file, by format and precision, with what is known of it; all seconds; the peak memory in MiB."""
    files: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
    start = time.perf_counter()
    for name in arguments.formats:
        chosen = model_format(name)
        for precision in chosen.precisions:
            path, began = folder / f"{name}-{precision}{chosen.suffix}", time.perf_counter()
            checked = export_checked(subject, name, precision, path, examples, settings(arguments), no_progress)
            files[name, precision] = (path, {
                "export_s": round(time.perf_counter() - began, 2), "max_abs": checked.parity["max_abs"],
                "top1_agreement": checked.parity["top1_agreement"], "accuracy": checked.accuracy["file"],
                "accuracy_drop": checked.accuracy["drop"], "float_layers": checked.float_layers,
            })  # fmt: skip
    seconds, peak_mib = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    example = torch.zeros(1, examples.channels, subject.resolution, subject.resolution)
    for name, write in (("onnx", plain_onnx), ("tflite", plain_tflite)):
        if name in arguments.formats:
            path = folder / f"{name}-plain{model_format(name).suffix}"
            with quiet("plain export"):
                write(subject.module.eval(), example, path)
            files[name, PLAIN] = (path, {})
    return files, round(seconds, 1), round(peak_mib)


def plain_onnx(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(module, (example,), str(path), dynamo=True, external_data=False)


def plain_tflite(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    import litert_torch

    litert_torch.convert(module, (example,)).export(str(path))


def latency(
    written: dict[tuple[str, str], Path], shape: tuple[int, ...], folder: Path, threads: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Latency of every file, and its ratio to the plain export's (where there is one) and to its own fp32 file's."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name in dict.fromkeys(name for name, _ in written):
        runtime = model_format(name).runtime
        models = {precision: path for (own, precision), path in written.items() if own == name}
        profiling = ProfilingConfig(runtime=runtime, threads=threads, rounds=20, max_rounds=40, slice_ms=10.0)
        device = connect(load_profile("local"), DeviceConfig())
        with Journal(folder / f"{name}.jsonl", {}) as journal, device as transport:
            result = measure_models(
                transport, models, models["fp32"], profiling, seed=0, journal=journal,
                progress=no_progress, shapes=dict.fromkeys([*models, "reference"], shape),
            )  # fmt: skip
        ms = {precision: one.median_ms for precision, one in result.latencies.items()}
        for precision, value in ms.items():
            found[name, precision] = {"latency_ms": value, "ratio_to_fp32": value / ms["fp32"]}
            if PLAIN in ms:
                found[name, precision]["ratio_to_plain_call"] = value / ms[PLAIN]
    return found


def markdown(found: dict[str, Any]) -> str:
    lines = [
        f"# Exported files, experiment {found['settings']['experiment']}",
        "",
        f"{described(found['about'])} {found['settings']['threads']} thread(s); {found['settings']['images']} images.",
        "",
        "| net | format | precision | KiB | max abs | same class | accuracy | drop, points | float layers | ms |"
        " / fp32 | / plain |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for net in found["nets"]:
        for entry in net["files"]:
            cells = [
                net["net"], entry["format"], entry["precision"], f"{entry['bytes'] / 1024:.0f}",
                number(entry, "max_abs", ".1e"), number(entry, "top1_agreement", ".1%"),
                number(entry, "accuracy", ".4f"), number(entry, "accuracy_drop", ".2f", 100),
                str(len(entry.get("float_layers", ()))), number(entry, "latency_ms", ".4f"),
                number(entry, "ratio_to_fp32", ".2f"), number(entry, "ratio_to_plain_call", ".3f"),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [
        f"- {net['net']}: torch {net['accuracy_torch']:.4f}; all files written in {net['export_s']} s by one"
        f" process, peak memory {net['export_peak_mib']} MiB; by hwnas export in {net['command_s']} s"
        for net in found["nets"]
    ]
    return "\n".join(lines) + "\n"


def number(entry: dict[str, Any], key: str, form: str, factor: float = 1) -> str:
    return "–" if entry.get(key) is None else format(entry[key] * factor, form)


if __name__ == "__main__":
    main()
