"""Exported files of a trained supernet's subnets: parity, accuracy, latency beside a plain export, time and memory.

    python benchmarks/export.py --experiment cifar10 --set data.root=/path --checkpoint F/supernet.safetensors --json F

For the smallest, the largest and a random subnet: every format and precision is written in a process of its own, which
gives the time for all of them and the peak of its memory. Then every file is run on the same test images as torch, and
on the same held-out images as its accuracy is judged by. Latency: all files of a runtime take turns in one measurement
on this machine, the file that a plain `torch.onnx.export` or litert-torch call writes among them, and a ratio is of
medians with drift divided out. Beside F a markdown table of the same name is written.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import about, described
from numpy.typing import NDArray
from torch import nn

from hwnas.accuracy.measure import calibrate_subnet
from hwnas.cli.compose import compose_config
from hwnas.cli.config import PipelineConfig, register_schemas, to_pipeline_config
from hwnas.cli.inputs import load_images, load_network, resolve_space
from hwnas.data.inputs import network_inputs
from hwnas.data.load import ImageData
from hwnas.devices.config import DeviceConfig
from hwnas.devices.connect import connect
from hwnas.devices.profile import load_profile
from hwnas.errors import MissingExtraError
from hwnas.export.config import ExportConfig
from hwnas.export.formats import FORMATS, ExportRequest, model_format
from hwnas.export.parity import accuracy_of_file, check_parity, torch_answers
from hwnas.export.quiet import quiet
from hwnas.files import write_json, write_text
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.journal import Journal
from hwnas.profiling.measure import measure_models
from hwnas.progress import no_progress
from hwnas.spaces import Space

PLAIN = "plain call"


@dataclass(frozen=True)
class Net:
    """A subnet that was calibrated, and what exporting it needs."""

    name: str
    module: nn.Module
    resolution: int
    calibration: NDArray[np.float32]

    @property
    def example(self) -> torch.Tensor:
        return torch.zeros(1, self.calibration.shape[1], self.resolution, self.resolution)


def main() -> None:
    arguments = parse()
    config, space, data = opened(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for net in nets(arguments, config, space, data):
            print(net.name, flush=True)
            rows.append({"net": net.name, **measured(net, data, Path(folder) / net.name, arguments)})
            found = {
                "about": about("torch", "onnx", "onnxruntime", "ai-edge-litert", "litert-torch", "apache-tvm"),
                "settings": {"images": arguments.images, "threads": arguments.threads, "experiment": config.name},
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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--formats", nargs="+", default=list(FORMATS))
    parser.add_argument("--nets", nargs="+", default=["smallest", "random", "largest"])
    return parser.parse_args()


def opened(arguments: argparse.Namespace) -> tuple[PipelineConfig, Space, ImageData]:
    register_schemas()
    overrides = [f"experiment={arguments.experiment}", *arguments.set]
    config = to_pipeline_config(compose_config("evaluate", overrides))
    space = resolve_space(config)
    return config, space, load_images(config, space, no_progress)


def nets(arguments: argparse.Namespace, config: PipelineConfig, space: Space, data: ImageData) -> list[Net]:
    supernet = load_network(arguments.checkpoint, space)
    rows = {
        "smallest": space.extreme(largest=False),
        "random": space.sample(1, np.random.default_rng(config.seed))[0],
        "largest": space.extreme(largest=True),
    }
    found = []
    for name in arguments.nets:
        resolution = space.arch(rows[name]).values["r"]
        count = ExportConfig().calibration_images
        batches = [
            inputs.numpy()
            for inputs, _ in network_inputs(data.train.first(count), resolution, data.preprocessing, count)
        ]
        module = calibrate_subnet(supernet, rows[name], data, config.evaluation.measure)
        found.append(Net(name, module, resolution, np.ascontiguousarray(np.concatenate(batches))))
    return found


def measured(net: Net, data: ImageData, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        written, export_s, peak_mib = pool.apply(write_all, (net, folder, tuple(arguments.formats)))
    expected = accuracy_of(net, data, arguments.images)
    answers = torch_answers(net.module, data.test.first(arguments.images), net.resolution, data.preprocessing)
    files = []
    for (format_name, precision), (path, seconds) in written.items():
        entry: dict[str, Any] = {"format": format_name, "precision": precision, "export_s": round(seconds, 2)}
        entry["bytes"] = path.stat().st_size
        if precision != PLAIN:
            parity = check_parity(path, answers, float("inf"), ExportConfig(parity_images=arguments.images))
            entry |= {"max_abs": parity.max_abs, "top1_agreement": parity.top1_agreement}
            images = data.held_out.first(arguments.images)
            accuracy = accuracy_of_file(path, images, net.resolution, data.preprocessing)
            entry |= {"accuracy": accuracy, "accuracy_drop": expected - accuracy}
        files.append(entry)
    latencies = latency(written, tuple(net.example.shape), folder, arguments.threads)
    for entry in files:
        entry |= latencies.get((entry["format"], entry["precision"]), {})
    return {"accuracy_torch": expected, "export_s": export_s, "export_peak_mib": peak_mib, "files": files}


def write_all(
    net: Net, folder: Path, formats: tuple[str, ...]
) -> tuple[dict[tuple[str, str], tuple[Path, float]], float, float]:
    """Every file by format and precision with the seconds it took; all seconds; the process's peak memory in MiB."""
    files = {}
    start = time.perf_counter()
    for name in formats:
        chosen = model_format(name)
        for precision in chosen.precisions:
            began = time.perf_counter()
            request = ExportRequest(net.module, net.example, precision, net.calibration)
            try:
                path = chosen.export(request, folder / f"{name}-{precision}{chosen.suffix}")
            except MissingExtraError as error:
                print(error, flush=True)
                break
            files[name, precision] = (path, time.perf_counter() - began)
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for name, write in (("onnx", plain_onnx), ("tflite", plain_tflite)):
        if name in formats:
            began = time.perf_counter()
            path = folder / f"{name}-plain{model_format(name).suffix}"
            with quiet("plain export"):
                write(net.module.eval(), net.example, path)
            files[name, PLAIN] = (path, time.perf_counter() - began)
    return files, round(seconds, 1), round(peak_mib)


def plain_onnx(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    torch.onnx.export(module, (example,), str(path), dynamo=True, external_data=False)


def plain_tflite(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    import litert_torch

    litert_torch.convert(module, (example,)).export(str(path))


@torch.no_grad()
def accuracy_of(net: Net, data: ImageData, images: int) -> float:
    right = seen = 0
    for inputs, labels in network_inputs(data.held_out.first(images), net.resolution, data.preprocessing, 250):
        right += int((net.module.eval()(inputs).argmax(1) == labels).sum())
        seen += len(labels)
    return right / seen


def latency(
    written: dict[tuple[str, str], tuple[Path, float]], shape: tuple[int, ...], folder: Path, threads: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Latency of every file, and its ratio to the plain export's (where there is one) and to its own fp32 file's."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for name in dict.fromkeys(name for name, _ in written):
        runtime = model_format(name).runtime
        models = {precision: path for (own, precision), (path, _) in written.items() if own == name}
        settings = ProfilingConfig(runtime=runtime, threads=threads, rounds=20, max_rounds=40, slice_ms=10.0)
        with connect(load_profile("local"), DeviceConfig()) as transport:
            result = measure_models(
                transport, models, models["fp32"], settings, seed=0, journal=Journal(folder / f"{name}.jsonl", {}),
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
        "| net | format | precision | KiB | max abs | same class | accuracy | drop, points | ms | / fp32 | / plain |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for net in found["nets"]:
        for entry in net["files"]:
            cells = [
                net["net"], entry["format"], entry["precision"], f"{entry['bytes'] / 1024:.0f}",
                number(entry, "max_abs", ".1e"), number(entry, "top1_agreement", ".1%"),
                number(entry, "accuracy", ".4f"), number(entry, "accuracy_drop", ".2f", 100),
                number(entry, "latency_ms", ".4f"),
                number(entry, "ratio_to_fp32", ".2f"), number(entry, "ratio_to_plain_call", ".3f"),
            ]  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines += [
        f"- {net['net']}: torch {net['accuracy_torch']:.4f}; all files written in {net['export_s']} s,"
        f" peak memory {net['export_peak_mib']} MiB"
        for net in found["nets"]
    ]
    return "\n".join(lines) + "\n"


def number(entry: dict[str, Any], key: str, form: str, factor: float = 1) -> str:
    return "–" if entry.get(key) is None else format(entry[key] * factor, form)


if __name__ == "__main__":
    main()
