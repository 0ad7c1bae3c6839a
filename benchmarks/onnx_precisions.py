"""Latency of ONNX files by precision under ONNX Runtime, beside plain `torch.onnx.export` and ONNX Runtime's quantiser.

    python benchmarks/onnx_precisions.py --json benchmarks/results/onnx_precisions.json

Networks have random weights, which latency does not depend on. All files of a network take turns, in an order drawn
anew each round; figures are medians over rounds: with one thread of CPU milliseconds, which other work on the machine
disturbs less, with more threads of wall-clock ones. `plain` is what `torch.onnx.export` writes of the folded network;
`quantize_static` is ONNX Runtime's tool on our float32 file with its defaults (int8 activations) and scales by channel,
`quantize_static_uint8` the same with uint8 activations.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime
import torch
from machine import about
from torch import nn

from hwnas.export.formats import model_format
from hwnas.export.onnx.graph import OPSET
from hwnas.export.onnx.ranges import ImageReader
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportRequest
from hwnas.spaces import OfaMbv3Config, OfaProxylessConfig, Space, make_space
from hwnas.supernet.build import build_subnet
from hwnas.supernet.fold import fold_batch_norm

CIFAR = OfaMbv3Config(
    name="ofa_mbv3_cifar10", resolution=(28, 32), widths=(16, 16, 24, 40, 64, 160, 160), stem_stride=2,
    strides=(1, 2, 2, 1), activations=("relu", "relu", "relu", "h_swish"), se=(False, False, True, True),
    depths=(2, 3), expand_ratios=(3, 4, 6), classes=10,
)  # fmt: skip
NETWORKS: dict[str, tuple[Any, str]] = {
    "cifar10_smallest": (CIFAR, "smallest"),
    "cifar10_random": (CIFAR, "random"),
    "cifar10_largest": (CIFAR, "largest"),
    "ofa_mbv3_224": (OfaMbv3Config(resolution=(224,)), "random"),
    "ofa_proxyless_224": (OfaProxylessConfig(resolution=(224,)), "random"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    found: dict[str, Any] = {
        "machine": {**about("onnxruntime", "onnx", "torch", "numpy"), **integer_units()},
        "rounds": arguments.rounds,
        "seed": 0,
        "networks": {},
    }
    for name in arguments.networks:
        config, which = NETWORKS[name]
        with tempfile.TemporaryDirectory() as folder:
            files, image = write(make_space(config), which, Path(folder))
            result: dict[str, Any] = {"bytes": {side: file.stat().st_size for side, file in files.items()}}
            result["profile_us"] = {side: profile(files[side], image) for side in ("fp32", "int8", "quantize_static")}
            for threads in arguments.threads:
                result[f"{threads}_threads_ms"] = latencies(files, image, threads, arguments.rounds)
        found["networks"][name] = result
        for threads in arguments.threads:
            ms = result[f"{threads}_threads_ms"]
            shown = ", ".join(f"{side} {value:.3f} ({value / ms['fp32']:.2f})" for side, value in ms.items())
            print(f"{name}, {threads} threads: {shown}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def write(space: Space, which: str, folder: Path) -> tuple[dict[str, Path], np.ndarray]:
    rng = np.random.default_rng(0)
    genotype = space.sample(1, rng)[0] if which == "random" else space.extreme(largest=which == "largest")
    module: nn.Module = build_subnet(space, genotype, generator=torch.Generator().manual_seed(0)).eval()
    first = space.operators_of(genotype)[0]
    images = rng.standard_normal((16, first.in_channels, first.in_height, first.in_width)).astype(np.float32)
    example = torch.from_numpy(images[:1])
    with torch.no_grad():  # activations near 1: denormal numbers would slow float32 down
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        module.train()(torch.from_numpy(images))
        module.eval()
    files = {"plain": folder / "plain.onnx"}
    with quiet("torch.onnx.export"):
        torch.onnx.export(fold_batch_norm(module), (example,), files["plain"], opset_version=OPSET,
                          input_names=["input"], external_data=False)  # fmt: skip
    for precision in model_format("onnx").precisions:
        request = ExportRequest(module, example, precision, images)
        files[precision] = model_format("onnx").export(request, folder / f"{precision}.onnx")
    from onnxruntime.quantization import QuantType, quantize_static

    for side, kind in (("quantize_static", QuantType.QInt8), ("quantize_static_uint8", QuantType.QUInt8)):
        files[side] = folder / f"{side}.onnx"
        with quiet(side):
            quantize_static(files["fp32"], files[side], ImageReader("input", images), per_channel=True,
                            activation_type=kind)  # fmt: skip
    return files, images[:1]


def session(file: Path, threads: int, profile_as: str | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    if profile_as:
        options.enable_profiling, options.profile_file_prefix = True, profile_as
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def latencies(files: dict[str, Path], image: np.ndarray, threads: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of one image, by file."""
    clock = time.process_time if threads == 1 else time.perf_counter
    sessions = {side: session(file, threads) for side, file in files.items()}
    taken: dict[str, list[float]] = {side: [] for side in files}
    runs, rng = 1, np.random.default_rng(0)
    for number in range(rounds + 1):
        for side in rng.permutation(list(files)):
            run = sessions[str(side)].run
            run(None, {"input": image})
            start = clock()
            for _ in range(runs):
                run(None, {"input": image})
            taken[str(side)].append((clock() - start) * 1e3 / runs)
        if not number:  # the first round warms up, and says how many runs make ten milliseconds
            runs = max(1, round(10 / min(values[0] for values in taken.values())))
    return {side: round(median(values[1:]), 5) for side, values in taken.items()}


def profile(file: Path, image: np.ndarray, runs: int = 30) -> dict[str, list[float]]:
    """Microseconds a run, and how many nodes, of each operator of the graph that ONNX Runtime makes of the file."""
    observed = session(file, 1, str(file.with_suffix("")))
    for _ in range(runs):
        observed.run(None, {"input": image})
    events = json.loads(Path(observed.end_profiling()).read_text())
    times: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
            counts[event["args"]["op_name"]] += 1
    return {kind: [round(taken / runs, 1), counts[kind] // runs] for kind, taken in times.most_common()}


def integer_units() -> dict[str, bool]:
    flags = Path("/proc/cpuinfo").read_text()
    return {"vnni": "vnni" in flags, "amx_int8": "amx_int8" in flags}


if __name__ == "__main__":
    main()
