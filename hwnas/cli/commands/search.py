"""`hwnas search`: the most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hwnas.accuracy.predictor import AccuracyPredictor
from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.inputs import input_path, resolve_space, table_files, tables_of
from hwnas.cli.steps import files_digest, run_step
from hwnas.latency.lookup import TableEstimator, require_coverage
from hwnas.latency.table import LatencyTable, read_table
from hwnas.progress import Progress
from hwnas.search.budgets import Budget, resolve_budgets, sample_near_latency
from hwnas.search.pareto import front
from hwnas.search.result import SearchResult
from hwnas.search.searchers import search
from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.spaces.space import Floats

__all__ = ["run", "step"]

RANDOM_SUBNETS_SHOWN = 500


def run(config: PipelineConfig, folder: Path) -> None:
    reporter = Reporter()
    result = step(config, folder, reporter)
    rows = [
        (entry["id"], f"{entry['budget_ms']:.4g}", f"{entry['latency_ms']:.4g}", f"{entry['accuracy_predicted']:.4f}")
        for entry in result["selected"]
    ]
    reporter.table("chosen networks", ("target", "budget ms", "latency ms", "predicted accuracy"), rows)
    reporter.say(f"result: {folder / 'result.json'}")


def step(config: PipelineConfig, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """The result of the search, made or read (see `hwnas.cli.steps`)."""
    space = resolve_space(config)
    predictor_path = input_path(config.accuracy.path, folder, "evaluate", "predictor.safetensors", "accuracy.path")
    tables = tables_of(config, input_path(config.latency.path, folder, "profile", "", "latency.path"))
    read = {f"{runtime} {role}": file for runtime, path in tables.items() for role, file in table_files(path).items()}
    inputs = {
        "space": space.config(),
        "search": to_plain(config.search),
        "files": files_digest({"accuracy predictor": predictor_path, **read}),
    }

    def work() -> dict[str, Any]:
        predictor = AccuracyPredictor.load(predictor_path, space)
        with reporter.step(
            f"search: {config.search.method} over {_subnets(space)}, on {', '.join(tables)}"
        ) as progress:
            found = [
                _search_table(read_table(path), predictor, space, config, np.random.default_rng([config.seed, number]),
                              _part(progress, number, len(tables)))
                for number, path in enumerate(tables.values())
            ]  # fmt: skip
        return {
            "selected": [entry for part in found for entry in part["selected"]],
            "front": [part["front"] for part in found],
            "evaluations": sum(part["evaluations"] for part in found),
            "elapsed_s": sum(part["elapsed_s"] for part in found),
            "space": space.config(),
        }

    return run_step("search", folder, inputs, config.seed, work, reporter.say)


def _search_table(
    table: LatencyTable,
    predictor: AccuracyPredictor,
    space: OfaMbv3Space,
    config: PipelineConfig,
    rng: np.random.Generator,
    progress: Progress,
) -> dict[str, Any]:
    estimator = TableEstimator(table, space)
    require_coverage(estimator.missing)
    device, runtime = table.provenance["device"], table.provenance["runtime"]

    def safe_latency_ms(genotypes: Genotypes) -> Floats:
        return estimator.estimate(genotypes).upper_ms(config.search.confidence)

    fastest, _ = estimator.fastest()
    budgets = resolve_budgets(space, estimator.latency_ms, config.search, rng)
    selected: list[dict[str, Any]] = []
    archives: list[SearchResult] = []
    for number, budget in enumerate(budgets):
        result = search(
            space, predictor.mean, safe_latency_ms, budget.budget_ms, fastest, config.search, rng,
            # What meets a tighter budget meets this one as well.
            _part(progress, number, len(budgets)), initial=np.array([one.genotype for one in archives] or [fastest]),
        )  # fmt: skip
        archives.append(result)
        selected.append(
            _entry(result.genotype, budget, estimator, predictor, space, device, runtime, table, rng, config)
        )
    random = space.sample(RANDOM_SUBNETS_SHOWN, rng)
    seen = np.concatenate([random, *(archive.archive_genotypes for archive in archives)])
    seen_latency, seen_accuracy = estimator.latency_ms(seen), predictor.mean(seen)
    best = front(seen_accuracy, seen_latency)
    return {
        "selected": selected,
        "front": {
            "device": device,
            "runtime": runtime,
            "random": _cloud(seen_latency[: len(random)], seen_accuracy[: len(random)]),
            "pareto": _cloud(seen_latency[best], seen_accuracy[best]),
        },
        "evaluations": sum(archive.evaluations for archive in archives),
        "elapsed_s": round(sum(archive.elapsed_s for archive in archives), 3),
    }


def _entry(
    genotype: Genotypes,
    budget: Budget,
    estimator: TableEstimator,
    predictor: AccuracyPredictor,
    space: OfaMbv3Space,
    device: str,
    runtime: str,
    table: LatencyTable,
    rng: np.random.Generator,
    config: PipelineConfig,
) -> dict[str, Any]:
    row = genotype[None]
    latency_ms = float(estimator.latency_ms(row)[0])
    accuracy = predictor.predict(row)
    random = sample_near_latency(
        space,
        estimator.latency_ms,
        latency_ms,
        config.search.comparison_tolerance,
        config.search.comparison_networks,
        rng,
        excluded=row,
    )
    return {
        "id": f"{device}-{runtime}-{budget.name}",
        "device": device,
        "runtime": runtime,
        "precision": table.provenance["precision"],
        "threads": table.provenance["threads"],
        "budget": budget.name,
        "budget_ms": budget.budget_ms,
        "latency_ms": latency_ms,
        "accuracy_predicted": float(accuracy.mean[0]),
        "accuracy_predicted_std": None if accuracy.std is None else float(accuracy.std[0]),
        "macs": int(space.macs(row)[0]),
        "parameters": int(space.parameters(row)[0]),
        "arch": space.arch(genotype).to_dict(),
        "random_archs": [space.arch(other).to_dict() for other in random],
    }


def _cloud(latency: Any, accuracy: Any) -> dict[str, list[float]]:
    return {"latency_ms": np.round(latency, 6).tolist(), "accuracy": np.round(accuracy, 6).tolist()}


def _part(progress: Progress, number: int, parts: int) -> Progress:
    return lambda share, status: progress((number + share) / parts, status)


def _subnets(space: OfaMbv3Space) -> str:
    return f"{space.size:.1e} subnets" if space.size > 1_000_000 else f"{space.size} subnets"
