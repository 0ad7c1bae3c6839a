"""Latency tables' own speed: lookups a second, and how long it takes to write every operator's model.

    python benchmarks/latency_tables.py --json benchmarks/results/latency_tables.json

One thread. Lookups are compared with the plain sum over each network's operators, one network after the other, as
published code does it; both are timed in the same run, in CPU seconds, which other processes disturb least.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from machine import about

from hwnas.latency.tables.lookup import TableEstimator
from hwnas.latency.tables.table import LatencyTable, NetworkRows, OperatorRows
from hwnas.profiling.config import ProfilingConfig
from hwnas.profiling.runtimes import model_writer, runtime_named
from hwnas.spaces import OfaMbv3Config, Space, make_space

GENOTYPES, PLAIN, REPEATS, SEED = 200_000, 2_000, 5, 0


def estimator(space: Space, correction: dict[str, Any] | None) -> TableEstimator:
    """A table of random costs: what it holds makes no difference to the time."""
    count = len(space.operators)
    costs = np.random.default_rng(SEED).uniform(0.05, 1.0, count)
    ones, none = np.ones(count, dtype=np.int64), np.zeros(0)
    rows = OperatorRows(space.operators, costs, costs, costs, ones, costs, ("",) * count)
    networks = NetworkRows((), none, none, none, none.astype(np.int64), none, none)
    return TableEstimator(LatencyTable(rows, networks, {"correction": correction}), space)


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least of several runs."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def lookups(space: Space) -> dict[str, Any]:
    genotypes = space.sample(GENOTYPES, np.random.default_rng(SEED))
    slowdown = {"slowdown": {"gain": 0.1, "threshold": 5e6, "width": 0.3}, "held_out_std": 0.02}
    plain, corrected = estimator(space, None), estimator(space, slowdown)
    costs = dict(zip(space.operators, plain._costs, strict=True))

    def one_by_one() -> list[float]:
        return [sum(costs[operator] for operator in space.operators_of(row)) for row in genotypes[:PLAIN]]

    np.testing.assert_allclose(plain.latency_ms(genotypes[:PLAIN]), one_by_one(), rtol=1e-12)
    return {
        "genotypes_per_cpu_second": GENOTYPES / cpu_seconds(lambda: plain.latency_ms(genotypes)),
        "genotypes_per_cpu_second_with_slowdown": GENOTYPES / cpu_seconds(lambda: corrected.latency_ms(genotypes)),
        "plain_sum_per_cpu_second": PLAIN / cpu_seconds(one_by_one),
        "equal_to_the_plain_sum": True,
    }


def writing(space: Space, runtime: str, precision: str) -> dict[str, Any]:
    config = ProfilingConfig(runtime=runtime, precision=precision)
    write, suffix = model_writer(config), runtime_named(runtime).suffix
    with tempfile.TemporaryDirectory() as folder:
        start, cpu = time.perf_counter(), time.process_time()
        for number, operator in enumerate(space.operators):
            write([operator], Path(folder) / f"o{number}{suffix}", SEED)
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"runtime": runtime, "precision": precision, "operators": len(space.operators), "wall_s": wall, "cpu_s": cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--runtimes", nargs="*", default=["onnxruntime", "litert"])
    chosen = parser.parse_args()
    result = {
        "about": about("numpy"),
        "seed": SEED,
        "lookup": {"space": "ofa_mbv3", "genotypes": GENOTYPES, **lookups(make_space(OfaMbv3Config()))},
        "operator_models": [
            writing(make_space(OfaMbv3Config(resolution=(224,))), runtime, precision)
            for runtime in chosen.runtimes
            for precision in (("fp32",) if runtime == "tvm" else ("fp32", "int8"))
        ],
    }
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
