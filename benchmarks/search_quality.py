"""Search on the published Note 10 tables and accuracy network, beside the searcher that was published with them.

    python benchmarks/search_quality.py --json benchmarks/results/search_quality.json [--data reference] [--peer]

`--data` holds `ofa/` with the tables and `accuracy_predictor.npz`; without it, HWNAS_REFERENCE_DATA says where that is,
or it lies beside the checkout, as for the tests. `--peer` needs the packages ofa
(0.1.0.post202307202001, which imports torchvision and gdown) and pymoo, which are no dependencies of the project.
Seconds are wall-clock and CPU, of one process with one BLAS thread; both sides run in this process, one after another.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from machine import about, described
from search_peers import nsga2_front, published_search

from hwnas.accuracy.published import PublishedPredictor
from hwnas.latency.tables.ofa_table import OfaTableEstimator
from hwnas.search.config import IslandsConfig, SearchConfig
from hwnas.search.methods.guided import network_slopes
from hwnas.search.pareto import front, hypervolume
from hwnas.search.problem import Problem
from hwnas.search.searchers import search_budgets
from hwnas.spaces import OfaMbv3Config, make_space

DATA = Path(os.environ.get("HWNAS_REFERENCE_DATA", Path(__file__).parents[2] / "shared" / "reference"))
BUDGETS = (20.0, 25.0, 30.0, 35.0, 40.0)
FRONT_BUDGETS = tuple(np.arange(15.0, 60.1, 2.5).tolist())
# Nineteen budgets side by side keep many shapes of networks as it is.
FRONT_CONFIG = IslandsConfig(generations=120, islands=1, children=48, local_starts=0, most_alike=1.0)
REFERENCE = (0.74, 60.0)  # of the hypervolume: accuracy, ms


class Bench:
    def __init__(self, data: Path) -> None:
        self.folder = data / "ofa"
        self.space = make_space(OfaMbv3Config(width_mult=1.2))
        self.estimator = OfaTableEstimator(self.folder, self.space)
        self.weights = self.folder / "accuracy_predictor.npz"
        self.predictor = PublishedPredictor.load(self.weights, self.space)
        network = self.predictor.network
        self.slopes = network_slopes(self.space, network.encode, network.encoding.conditions, network.layers)
        self.fastest, _ = self.estimator.fastest()

    def search(self, budgets: Sequence[float], seed: int, latency: Any = None, **changes: Any) -> tuple[Any, Any]:
        """Results, and seconds on the clock and of CPU."""
        config = SearchConfig(islands=changes.pop("islands", IslandsConfig()))
        guided, latency_ms = changes.pop("guided", True), latency or self.estimator.latency_ms
        with Clock() as clock:
            results, evaluations, _ = search_budgets(
                [Problem(self.space, self.predictor.mean, latency_ms, budget, self.fastest) for budget in budgets],
                config, np.random.default_rng(seed), slopes=self.slopes if guided else None,
            )  # fmt: skip
        return results, {**clock.seconds, "evaluations": evaluations}


class Clock:
    def __enter__(self) -> Clock:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.seconds = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}


def at_budgets(bench: Bench, seeds: int, guided: bool = True) -> dict[str, Any]:
    """All budgets in one run, for each seed."""
    runs = []
    for seed in range(seeds):
        results, cost = bench.search(BUDGETS, seed, guided=guided)
        runs.append({"seed": seed, "accuracy": [round(one.accuracy, 6) for one in results], **cost})
        print("hwnas", runs[-1], flush=True)
    return {"runs": runs, **_summary(runs)}


def one_budget_a_run(bench: Bench, seeds: int) -> dict[str, Any]:
    """Each budget in a run of its own, as the peer searches."""
    runs = []
    for seed in range(seeds):
        found = [bench.search([budget], seed) for budget in BUDGETS]
        accuracy = [round(results[0].accuracy, 6) for results, _ in found]
        runs.append({"seed": seed, "accuracy": accuracy, "cpu_s": sum(cost["cpu_s"] for _, cost in found),
                     "wall_s": sum(cost["wall_s"] for _, cost in found)})  # fmt: skip
        print("hwnas, one budget a run", runs[-1], flush=True)
    return {"runs": runs, **_summary(runs)}


def peer_at_budgets(bench: Bench, seeds: int) -> dict[str, Any]:
    runs = []
    for seed in range(seeds):
        accuracy, wall, cpu = [], 0.0, 0.0
        for budget in BUDGETS:
            with Clock() as clock:
                accuracy.append(round(published_search(bench.folder, budget, seed), 6))
            wall, cpu = wall + clock.seconds["wall_s"], cpu + clock.seconds["cpu_s"]
        runs.append({"seed": seed, "accuracy": accuracy, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3)})
        print("ofa", runs[-1], flush=True)
    return {"runs": runs, **_summary(runs)}


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    table = np.array([run["accuracy"] for run in runs])
    return {
        "budgets_ms": list(BUDGETS),
        "worst": table.min(axis=0).tolist(), "median": np.median(table, axis=0).tolist(),
        "best": table.max(axis=0).tolist(),
        "wall_s": float(np.mean([run["wall_s"] for run in runs])),
        "cpu_s": float(np.mean([run["cpu_s"] for run in runs])),
    }  # fmt: skip


def whole_front(bench: Bench, seeds: int) -> dict[str, Any]:
    runs = []
    for seed in range(seeds):
        results, cost = bench.search(FRONT_BUDGETS, seed, islands=FRONT_CONFIG)
        widest = results[-1]
        accuracy, latency = widest.archive_accuracy, widest.archive_latency_ms
        runs.append({"seed": seed, "hypervolume": round(hypervolume(accuracy, latency, *REFERENCE), 5),
                     "points": len(front(accuracy, latency)), **cost})  # fmt: skip
        print("front", runs[-1], flush=True)
    return {"runs": runs, "reference": list(REFERENCE), "budgets_ms": list(FRONT_BUDGETS)}


def peer_front(bench: Bench, evaluations: int, seeds: int) -> dict[str, Any]:
    runs = []
    for seed in range(seeds):
        with Clock() as clock:
            accuracy, latency = nsga2_front(bench, evaluations, seed)
        volume = round(hypervolume(accuracy, latency, *REFERENCE), 5)
        runs.append({"seed": seed, "hypervolume": volume, "evaluations": evaluations, **clock.seconds})
        print("pymoo", runs[-1], flush=True)
    return {"runs": runs}


def device_budget_pairs(bench: Bench) -> dict[str, Any]:
    """Ten devices made up from the Note 10 (every operator's latency times a random factor), five budgets each."""
    rng, total = np.random.default_rng(0), {"wall_s": 0.0, "cpu_s": 0.0}
    for device in range(10):
        assert bench.estimator.factors is not None
        factors = [(columns, table * rng.lognormal(0, 0.3, table.shape)) for columns, table in bench.estimator.factors]

        def latency_ms(rows: np.ndarray, factors: Any = factors) -> np.ndarray:
            ms: np.ndarray = np.sum([table[tuple(rows[:, c] for c in columns)] for columns, table in factors], axis=0)
            return ms

        spread = np.quantile(latency_ms(bench.space.sample(5000, rng)), [0.01, 0.1, 0.3, 0.5, 0.7])
        _, cost = bench.search(spread.tolist(), device, latency=latency_ms)
        total = {key: round(total[key] + cost[key], 3) for key in total}
    return {"pairs": 50, **total}


def throughput(bench: Bench) -> dict[str, float]:
    """Architectures a second."""
    rows = bench.space.sample(50_000, np.random.default_rng(0))
    rates: dict[str, float] = {}
    for name, work in (
        ("table", bench.estimator.latency_ms),
        ("features", bench.predictor.network.encoding.states),
        ("network_with_features", bench.predictor.mean),
    ):
        with Clock() as clock:
            work(rows)
        rates[name] = round(len(rows) / clock.seconds["cpu_s"])
    return rates


HOW = (
    "Settings are the shipped defaults (`IslandsConfig`). They were picked while looking at these very files: some 30"
    " settings, 4 to 6 of the seeds each, and the share of one shape by 24 seeds of three and of five budgets, so that"
    " the figures flatter a little. Peers, where a row names them, run with their own defaults"
    " (`ofa.tutorial.EvolutionFinder`; pymoo's NSGA-II with a population of 200 and ten times our evaluations)."
)


def markdown(found: dict[str, Any]) -> str:
    """What was measured, as tables."""
    lines = ["# Search on the published Note 10 tables and accuracy network", ""]
    lines += [f"{described(found['about'])} {HOW}", ""]
    lines += ["| search | seeds | " + " | ".join(f"{budget:g} ms" for budget in BUDGETS) + " | CPU s, all budgets |"]
    lines += ["|---" * (3 + len(BUDGETS)) + "|"]
    for name in ("all_budgets_in_one_run", "one_budget_a_run", "without_slopes", "peer"):
        if name in found:
            part = found[name]
            cells = [f"{low:.4f} / {best:.4f}" for low, best in zip(part["worst"], part["best"], strict=True)]
            label = f"{name.replace('_', ' ')}: worst / best"
            lines.append(f"| {label} | {len(part['runs'])} | " + " | ".join(cells) + f" | {part['cpu_s']:.2f} |")
    lines.append("")
    for name in ("front", "peer_front"):
        for run in found.get(name, {"runs": []})["runs"]:
            lines.append(
                f"- {name}, seed {run['seed']}: hypervolume {run['hypervolume']:.4f}, {run['evaluations']} evaluations,"
                f" {run['cpu_s']:.1f} s of CPU"
            )
    if "pairs" in found:
        lines.append(f"- {found['pairs']['pairs']} device and budget pairs: {found['pairs']['cpu_s']:.1f} s of CPU")
    if "throughput" in found:
        lines.append("- architectures a second: " + ", ".join(f"{k} {v}" for k, v in found["throughput"].items()))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--steps", nargs="*", help="only these, added to what the file holds already")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--peer-seeds", type=int, default=10)
    arguments = parser.parse_args()
    if not (arguments.data / "ofa").is_dir():
        parser.error(f"no folder ofa/ in {arguments.data}: give --data the folder that holds it")
    bench = Bench(arguments.data)
    found: dict[str, Any] = {"about": about("numpy")}
    steps: list[tuple[str, Any]] = [
        ("throughput", lambda: throughput(bench)),
        ("all_budgets_in_one_run", lambda: at_budgets(bench, arguments.seeds)),
        ("front", lambda: whole_front(bench, min(3, arguments.seeds))),
        ("pairs", lambda: device_budget_pairs(bench)),
        ("without_slopes", lambda: at_budgets(bench, min(5, arguments.seeds), guided=False)),
        ("one_budget_a_run", lambda: one_budget_a_run(bench, min(3, arguments.seeds))),
    ]
    if arguments.peer:
        steps += [
            ("peer", lambda: peer_at_budgets(bench, arguments.peer_seeds)),
            ("peer_front", lambda: peer_front(bench, 10 * found["front"]["runs"][0]["evaluations"], 1)),
        ]
    if arguments.steps and arguments.json.exists():
        found = {**json.loads(arguments.json.read_text()), **found}
    for name, step in steps:
        if arguments.steps and name not in arguments.steps:
            continue
        found[name] = step()
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
        arguments.json.with_suffix(".md").write_text(markdown(found))


if __name__ == "__main__":
    main()
