"""Searchers on a complete table, where the best is known, beside random search.

    python benchmarks/search_tabular.py --data reference --json benchmarks/results/search_tabular.json

`--data` holds HELP's table of all 15,625 NAS-Bench-201 cells on 27 devices, as `help/nasbench201_latency_ms.csv.gz`.
It has latencies and no accuracies. The task, of which the whole table gives the best: the cell that does most work
(the most latency on one device) within the median latency of another. Score is the share of the way from the median of
the cells within the budget (0) to the best of them (1). For every searcher: after how many evaluations it held the
best, and a score within 0.001 of it (0.1 point), and what it is at 200 evaluations relative to random search, as
(score - random) / random (Yang, Esperanca and Carlucci, "NAS evaluation is frustratingly hard", ICLR 2020).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import about, described
from numpy.typing import NDArray

from hwnas.accuracy.config import EnsembleConfig, NetworkTrainingConfig
from hwnas.accuracy.surrogate import ensemble_surrogate
from hwnas.files import write_json, write_text
from hwnas.search.config import (
    BananasConfig,
    EvolutionConfig,
    IslandsConfig,
    LocalSearchConfig,
    NsgaConfig,
    RandomSearchConfig,
    RegularizedConfig,
    SearchConfig,
)
from hwnas.search.problem import Problem
from hwnas.search.searchers import search
from hwnas.spaces import Arch, Gene, Genotypes, Space

WORK, LIMITED = "gold_6226", "titan_rtx_256"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = 6
POWERS = len(OPERATIONS) ** np.arange(EDGES)[::-1]
_OPERATION = re.compile(r"(\w+)~\d")
LATE = 200
MOST = 600

CONFIG = SearchConfig(
    islands=IslandsConfig(generations=40, islands=1, population=20, children=16, local_starts=0),
    evolution=EvolutionConfig(population=20, generations=40, local_search=False),
    regularized=RegularizedConfig(population=30, tournament=10, children=5, evaluations=MOST),
    nsga2=NsgaConfig(population=20, generations=40, mutation_probability=0.15),
    local=LocalSearchConfig(starts=20, pairs=0),
    bananas=BananasConfig(initial=20, batch=20, evaluations=LATE, candidates=200),
    random=RandomSearchConfig(samples=2 * MOST),
)
ENSEMBLE = EnsembleConfig(networks=3, training=NetworkTrainingConfig(epochs=30, learning_rate=3e-3, weight_decay=3.0))


class Cells(Space):
    """NAS-Bench-201's cells as numbers: one operation on each of six edges. All genes always count."""

    def __init__(self) -> None:
        self.name = "nasbench201_cells"
        self.genes = tuple(Gene(f"edge{n}", tuple(range(len(OPERATIONS))), f"edge{n}") for n in range(EDGES))
        self.operators, self.slots = (), ()

    def active(self, genotypes: Genotypes) -> NDArray[np.bool_]:
        return np.ones(genotypes.shape, dtype=bool)

    def arch(self, genotype: Genotypes) -> Arch:
        return Arch(self.name, {"edges": genotype.tolist()})

    def genotype(self, arch: Any) -> Genotypes:
        return np.array(arch["edges"], dtype=np.int64)

    def config(self) -> dict[str, Any]:
        return {"name": self.name}


def read(path: Path) -> dict[str, NDArray[np.float64]]:
    """Latencies of `WORK` and `LIMITED`; a cell stands at the number that its operations write in base 5."""
    with gzip.open(path, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = np.array([_OPERATION.findall(row["arch"]) for row in rows])
    places = np.array([[OPERATIONS.index(name) for name in row] for row in numbers]) @ POWERS
    found = {}
    for device in (WORK, LIMITED):
        values = np.full(len(OPERATIONS) ** EDGES, np.nan)
        values[places] = [float(row[device]) for row in rows]
        assert np.isfinite(values).all(), "expected every cell once"
        found[device] = values
    return found


def task(data: Path) -> tuple[Cells, Any, Any, float, Genotypes, dict[str, Any]]:
    values = read(data / "help" / "nasbench201_latency_ms.csv.gz")
    work, limited = values[WORK], values[LIMITED]
    budget = float(np.median(limited))
    within = limited <= budget
    middle, best = float(np.median(work[within])), float(work[within].max())

    def score(rows: Genotypes) -> NDArray[np.float64]:
        found: NDArray[np.float64] = (work[rows @ POWERS] - middle) / (best - middle)
        return found

    def latency_ms(rows: Genotypes) -> NDArray[np.float64]:
        return np.asarray(limited[rows @ POWERS])

    space = Cells()
    fastest = np.array([int(limited.argmin()) // power % len(OPERATIONS) for power in POWERS], dtype=np.int64)
    about = {"cells": len(work), "within": int(within.sum()), "budget_ms": budget, "devices": [WORK, LIMITED]}
    return space, score, latency_ms, budget, fastest, about


def evaluations_until(result: Any, least: float) -> int | None:
    """How many cells had been evaluated when one of at least this score was among them."""
    places = np.flatnonzero(result.archive_accuracy >= least)
    return int(places[0]) + 1 if len(places) else None


def run(data: Path, method: str, seeds: int) -> dict[str, Any]:
    space, score, latency_ms, budget, fastest, _ = task(data)
    best, near, late, started = [], [], [], time.process_time()
    problem = Problem(space, score, latency_ms, budget, fastest)
    for seed in range(seeds):
        result = search(
            problem, replace(CONFIG, method=method), np.random.default_rng(seed),
            surrogate=ensemble_surrogate(space, ENSEMBLE),
        )  # fmt: skip
        best.append(evaluations_until(result, 1.0))
        near.append(evaluations_until(result, 0.999))
        late.append(float(result.archive_accuracy[:LATE].max()))
    return {"best": best, "near": near, "late": late, "cpu_s": time.process_time() - started}


def summary(found: dict[str, Any]) -> str:
    """What was measured, as a table."""
    random = np.mean(found["methods"]["random"]["late"])
    lines = [
        "| searcher | found the best | evaluations until the best, median of those | within 0.1 point, median |"
        f" score at {LATE} | relative to random |",
        "|---|---|---|---|---|---|",
    ]
    for method, one in found["methods"].items():
        hits, near = ([value for value in one[key] if value is not None] for key in ("best", "near"))
        late = float(np.mean(one["late"]))
        cells = [np.median(values) if values else None for values in (hits, near)]
        shown = ["–" if value is None else f"{value:.0f}" for value in cells]
        lines.append(
            f"| {method} | {len(hits)} of {len(one['best'])} | {shown[0]} | {shown[1]} | {late:.4f}"
            f" | {(late - random) / random:+.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--methods", nargs="+")
    arguments = parser.parse_args()
    methods = arguments.methods or ["random", "local", "regularized", "evolution", "nsga2", "islands", "bananas"]
    found: dict[str, Any] = {
        "benchmark": "search_tabular", "about": about("numpy"), "seeds": arguments.seeds,
        "task": task(arguments.data)[-1], "methods": {},
    }  # fmt: skip
    for method in ["random", *(name for name in methods if name != "random")]:
        found["methods"][method] = run(arguments.data, method, arguments.seeds)
        print(method, f"{found['methods'][method]['cpu_s']:.1f} s of CPU", flush=True)
        write_json(arguments.json, found)
        write_text(arguments.json.with_suffix(".md"), markdown(found))
    print(summary(found))


def markdown(found: dict[str, Any]) -> str:
    """The page beside the JSON."""
    task = found["task"]
    text = [
        "# Searchers on a complete table",
        f"HELP's NAS-Bench-201 latencies, {task['cells']} cells, of which {task['within']} are within"
        f" {task['budget_ms']:.3g} ms on {task['devices'][1]}; the score is the latency on {task['devices'][0]},"
        f" from the median (0) to the best (1) of those. {found['seeds']} seeds. {described(found['about'])}",
        summary(found),
        "Populations are small, for a table of this size. BANANAS stops at"
        f" {LATE} evaluations; its ensemble is of 3 networks, 30 epochs. Settings are the first that were tried.",
    ]
    return "\n\n".join(text) + "\n"


if __name__ == "__main__":
    main()
