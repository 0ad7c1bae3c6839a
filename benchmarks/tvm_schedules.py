"""One network under TVM: as TVM's own pipeline compiles it, as hwnas schedules it, tuned; and under ONNX Runtime.

    python benchmarks/tvm_schedules.py --trials 64 256 --json F

One thread, medians, all four in turns in one process. A random subnet with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TVM_NUM_THREADS"] = "1"

from machine import about, described

from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.tvm import build as tvm_build
from hwnas.export.tvm.tune import tune
from hwnas.operators import Operator
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space

SLICE_S = 3e-3
SPACES = {
    "ofa_mbv3_cifar10": OfaMbv3Config(
        name="ofa_mbv3_cifar10", resolution=(32,), widths=(16, 16, 24, 40, 64, 160, 160), strides=(1, 2, 2, 1),
        activations=("relu", "relu", "relu", "h_swish"), se=(False, False, True, True), depths=(2, 3),
        expand_ratios=(3, 4, 6), classes=10,
    ),
    "ofa_mbv3": OfaMbv3Config(resolution=(224,)),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="ofa_mbv3_cifar10")
    parser.add_argument("--trials", type=int, nargs="*", default=[64])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    space = OfaMbv3Space(SPACES[options.space])
    operators = space.operators_of(space.sample(1, np.random.default_rng(options.seed))[0])
    with tempfile.TemporaryDirectory() as folder:
        runs, build_s = compiled(operators, options.trials, options.seed, Path(folder))
        latency_ms = medians_ms(runs, options.rounds)
    found = {
        **about("apache-tvm", "onnxruntime"),
        "space": options.space,
        "macs": sum(operator.macs for operator in operators),
        "seed": options.seed,
        "rounds": options.rounds,
        "latency_ms": latency_ms,
        "against_onnxruntime": {name: ms / latency_ms["onnxruntime"] for name, ms in latency_ms.items()},
        "build_cpu_s": build_s,
    }
    print(described(found))
    for name, ms in latency_ms.items():
        print(
            f"{name:20} {ms:8.3f} ms  {found['against_onnxruntime'][name]:6.2f} x  {build_s.get(name, 0.0):6.1f} s CPU"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def compiled(
    operators: Sequence[Operator], trials: list[int], seed: int, folder: Path
) -> tuple[dict[str, Callable[[], Any]], dict[str, float]]:
    """What runs each once, by name, and how many CPU seconds compiling took."""
    import onnx
    import onnxruntime
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    path = synthetic_onnx.write(operators, folder / "network.onnx", seed)
    first = operators[0]
    image = np.random.default_rng(seed).standard_normal((1, first.in_channels, first.in_height, first.in_width))
    image = image.astype(np.float32)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": image})[0]
    runs: dict[str, Callable[[], Any]] = {"onnxruntime": lambda: session.run(None, {"input": image})}
    build_s: dict[str, float] = {}
    tools = tvm_build.toolchain(None)
    tensor = tvm.runtime.tensor(image)

    def add(name: str, make: Callable[[], Any]) -> None:
        start = time.process_time()
        library = folder / f"{len(runs)}.so"
        library.write_bytes(tvm_build.compile_library(make(), tools))
        build_s[name] = round(time.process_time() - start, 2)
        machine = relax.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
        np.testing.assert_allclose(machine["main"](tensor).numpy(), expected, atol=1e-4)
        machine.set_input("main", tensor)
        invoke = machine.module["invoke_stateful"]
        runs[name] = lambda: invoke("main")

    def imported() -> Any:
        return from_onnx(onnx.load(path), keep_params_in_input=False)

    def fused() -> Any:
        return tvm_build.fuse_operators(imported(), tools)

    def tuned(count: int) -> Any:
        module = fused()
        return tvm_build.schedule_functions(module, tools, tune(module, tools, count, seed))

    add("tvm's own pipeline", imported)
    add("scheduled", lambda: tvm_build.schedule_functions(fused(), tools))
    for count in trials:
        add(f"tuned, {count} trials", lambda count=count: tuned(count))  # type: ignore[misc]
    return runs, build_s


def medians_ms(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median latency of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            run()
            end = time.perf_counter() + SLICE_S
            while time.perf_counter() < end:
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: round(1e3 * float(np.median(found)), 4) for name, found in times.items()}


if __name__ == "__main__":
    main()
