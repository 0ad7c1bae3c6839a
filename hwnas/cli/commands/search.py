"""`hwnas search`: the most accurate network within each budget of each device and runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.cli.config import PipelineConfig
from hwnas.cli.console import Reporter
from hwnas.cli.convert import to_plain
from hwnas.cli.inputs import resolve_space
from hwnas.cli.sources import Predictor, Target, accuracy_file, latency_targets, load_predictor, slopes_of
from hwnas.cli.steps import files_digest, run_step
from hwnas.progress import Progress, part
from hwnas.search.budgets import Budget, resolve_budgets, sample_near_latency
from hwnas.search.exact import ExactResult, additive_weights, search_exact
from hwnas.search.pareto import front
from hwnas.search.searchers import search_budgets
from hwnas.spaces import Genotypes, Space
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
    predictor_path = accuracy_file(config, folder)
    targets = latency_targets(config, folder, space)
    files = {role: file for target in targets for role, file in target.files.items()}
    inputs = {
        "space": space.config(),
        "search": to_plain(config.search),
        "files": files_digest({"accuracy predictor": predictor_path, **files}),
    }

    def work() -> dict[str, Any]:
        predictor = load_predictor(config, predictor_path, space)
        names = ", ".join(target.name for target in targets)
        with reporter.step(f"search: {config.search.method} over {_subnets(space)}, on {names}") as progress:
            found = [
                _search_target(target.open(), predictor, space, config, np.random.default_rng([config.seed, number]),
                               part(progress, number, len(targets)))
                for number, target in enumerate(targets)
            ]  # fmt: skip
        return {
            "selected": [entry for part in found for entry in part["selected"]],
            "front": [part["front"] for part in found],
            "history": [entry for part in found for entry in part["history"]],
            "evaluations": sum(part["evaluations"] for part in found),
            "elapsed_s": sum(part["elapsed_s"] for part in found),
            "space": space.config(),
        }

    return run_step("search", folder, inputs, config.seed, work, reporter.say)


def _search_target(
    target: Target,
    predictor: Predictor,
    space: Space,
    config: PipelineConfig,
    rng: np.random.Generator,
    progress: Progress,
) -> dict[str, Any]:
    estimator = target.estimator

    def safe_latency_ms(genotypes: Genotypes) -> Floats:
        return estimator.estimate(genotypes).upper_ms(config.search.confidence)

    fastest, _ = estimator.fastest()
    budgets = resolve_budgets(space, estimator.latency_ms, config.search, rng)
    values = [budget.budget_ms for budget in budgets]
    proven = _prove(target, predictor, space, values, config, rng)
    archives, evaluations, elapsed_s = search_budgets(
        space, predictor.mean, safe_latency_ms, values, fastest, config.search, rng, progress,
        initial=np.array([one.genotype for one in proven if one.genotype is not None] or [fastest]),
        slopes=slopes_of(predictor, space),
    )  # fmt: skip
    selected = [
        _entry(archive.genotype, budget, target, predictor, space, rng, config)
        for archive, budget in zip(archives, budgets, strict=True)
    ]
    for entry, one in zip(selected, proven, strict=False):
        entry["upper_bound"] = one.upper_bound
    random = space.sample(RANDOM_SUBNETS_SHOWN, rng)
    fronts = [one.archive_genotypes[front(one.archive_accuracy, one.archive_latency_ms)] for one in archives]
    seen = np.concatenate([random, *fronts])
    seen_latency, seen_accuracy = estimator.latency_ms(seen), predictor.mean(seen)
    best = front(seen_accuracy, seen_latency)
    return {
        "selected": selected,
        "front": {
            "device": target.device,
            "runtime": target.runtime,
            "random": _cloud(seen_latency[: len(random)], seen_accuracy[: len(random)]),
            "pareto": _cloud(seen_latency[best], seen_accuracy[best]),
        },
        "history": [
            {"id": entry["id"], **archive.history.to_dict()} for entry, archive in zip(selected, archives, strict=True)
        ],
        "evaluations": evaluations,
        "elapsed_s": round(elapsed_s, 3),
    }


def _prove(
    target: Target,
    predictor: Predictor,
    space: Space,
    budgets_ms: Sequence[float],
    config: PipelineConfig,
    rng: np.random.Generator,
) -> list[ExactResult]:
    """The exact result of each budget where `search.upper_bound` asks for it and both objectives add up, else none."""
    factors = target.estimator.factors
    if not config.search.upper_bound or factors is None:
        return []
    if config.search.confidence != 0.5 and target.estimator.estimate(space.sample(1, rng)).std_ms is not None:
        return []  # what has to meet the budget is more than the sum then
    weights = additive_weights(space, predictor.mean, rng)
    return [] if weights is None else search_exact(space, *weights, factors, budgets_ms)


def _entry(
    genotype: Genotypes,
    budget: Budget,
    target: Target,
    predictor: Predictor,
    space: Space,
    rng: np.random.Generator,
    config: PipelineConfig,
) -> dict[str, Any]:
    estimator = target.estimator
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
        "id": f"{target.device}-{target.runtime}-{budget.name}",
        "device": target.device,
        "runtime": target.runtime,
        "precision": target.precision,
        "threads": target.threads,
        "budget": budget.name,
        "budget_ms": budget.budget_ms,
        "latency_ms": latency_ms,
        "accuracy_predicted": float(accuracy.mean[0]),
        "upper_bound": None,
        "accuracy_predicted_std": None if accuracy.std is None else float(accuracy.std[0]),
        "macs": int(space.macs(row)[0]),
        "parameters": int(space.parameters(row)[0]),
        "arch": space.arch(genotype).to_dict(),
        "random_archs": [space.arch(other).to_dict() for other in random],
    }


def _cloud(latency: Any, accuracy: Any) -> dict[str, list[float]]:
    return {"latency_ms": np.round(latency, 6).tolist(), "accuracy": np.round(accuracy, 6).tolist()}


def _subnets(space: Space) -> str:
    return f"{space.size:.1e} subnets" if space.size > 1_000_000 else f"{space.size} subnets"
