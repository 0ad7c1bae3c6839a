"""The search of one target: all its budgets, what of it the result shows, and its state on disk.

Shapes: N architectures, G genes, B budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.accuracy.config import EnsembleConfig
from hwnas.accuracy.surrogate import ensemble_surrogate
from hwnas.errors import InfeasibleBudgetError, StorageError
from hwnas.files import read_json, write_json
from hwnas.pipeline.search.quantities import Quantities
from hwnas.pipeline.search.sources import Target, slopes_of
from hwnas.progress import Progress
from hwnas.search.budgets import Budget, resolve_budgets
from hwnas.search.limits import find_within, limited
from hwnas.search.methods.exact import ExactResult, additive_weights, search_exact
from hwnas.search.pareto import front, non_dominated_values
from hwnas.search.problem import Problem
from hwnas.search.result import SearchResult
from hwnas.search.searchers import search_budgets
from hwnas.spaces import Genotypes

__all__ = ["Found", "Rivals", "kept", "search_target", "target_id"]

RANDOM_SUBNETS_SHOWN = 500
HISTORY_STEPS = 60
_DEFAULT_OBJECTIVES = ("accuracy", "latency_ms")


@dataclass(frozen=True)
class Found:
    """What the search of a target found, JSON-able. One entry a budget in `budgets`, `best` (genotypes, best first, as
    many as `search.evaluate_top`, at least one), `upper_bounds` and `history`. `pareto`: genotypes of the front.
    `lacking`: budgets that no network meets, where others may, each with the `reason`.
    """

    budgets: list[dict[str, Any]]
    best: list[list[list[int]]]
    upper_bounds: list[float | None]
    history: list[dict[str, Any]]
    front: dict[str, Any]
    pareto: list[list[int]]
    evaluations: int
    elapsed_s: float
    lacking: list[dict[str, Any]] = field(default_factory=list)

    @property
    def asked(self) -> list[Budget]:
        """All budgets, tightest first."""
        names = ("name", "budget_ms", "quantile")
        return [Budget(**{name: one[name] for name in names}) for one in (*self.lacking, *self.budgets)]


@dataclass(frozen=True)
class Rivals:
    """That several supernets are searched for the same: `budgets` of each target, by its name, where they are known."""

    budgets: Mapping[str, Sequence[Budget]] = field(default_factory=dict)


def kept(path: Path, search: Callable[[], Found]) -> Found:
    """What `path` holds of an interrupted run, or what `search` finds, written there."""
    try:
        return Found(**read_json(path))
    except (StorageError, TypeError):
        found = search()
        write_json(path, asdict(found))
        return found


def search_target(
    quantities: Quantities,
    rng: np.random.Generator,
    progress: Progress,
    known: Genotypes | None,
    rivals: Rivals | None = None,
) -> Found:
    """The best networks of each budget of `quantities.target`. `known` `[N, G]` are good ones of other devices.

    With `rivals`, budgets that can't be met are `lacking`. Else raises InfeasibleBudgetError where a budget, or the
    constraints, can't be met.
    """
    target, predictor, space = quantities.target, quantities.predictor, quantities.space
    estimator, search = target.estimator, quantities.config
    limits = quantities.limits()
    score = quantities.score()
    costs = quantities.costs([name for name in search.objectives[1:] if name != "latency_ms"])
    fastest, _ = estimator.fastest()
    least_ms = float(quantities.objective("latency_ms")(fastest[None])[0])
    asked = (rivals.budgets.get(target.name) if rivals else None) or resolve_budgets(
        space, estimator.latency_ms, search, rng, least_ms
    )
    latency_ms = limited(quantities.objective("latency_ms"), limits)
    problems: list[Problem] = []
    lacking: list[dict[str, Any]] = []
    for place, budget in enumerate(asked):  # what meets the tightest meets the others
        try:
            within = [*limits, quantities.latency_limit(budget.budget_ms)]
            anchor = find_within(space, within, rng) if limits else fastest
            problems = [Problem(space, score, latency_ms, one.budget_ms, anchor) for one in asked[place:]]
            break
        except InfeasibleBudgetError as error:
            if rivals is None:
                raise
            lacking.append({**budget.to_dict(), "reason": str(error)})
    if not problems:
        shown, pareto = _front(quantities, [], rng)
        return Found([], [], [], [], shown, pareto.tolist(), 0, 0.0, lacking)
    budgets = asked[len(lacking) :]
    values = [budget.budget_ms for budget in budgets]
    proven = [] if limits or search.objectives[0] != "accuracy" else _prove(quantities, values, rng)
    initial = [problems[0].fastest[None], *(one.genotype[None] for one in proven if one.genotype is not None)]
    if known is not None:
        initial.append(known)
    archives, evaluations, elapsed_s = search_budgets(
        problems, search, rng, progress, initial=np.concatenate(initial),
        slopes=slopes_of(predictor, space) if search.objectives[0] == "accuracy" else None,
        surrogate=ensemble_surrogate(space, EnsembleConfig()), more=costs,
    )  # fmt: skip
    bounds: list[float | None] = [one.upper_bound for one in proven] if proven else [None] * len(budgets)
    shown, pareto = _front(quantities, archives, rng)
    return Found(
        budgets=[budget.to_dict() for budget in budgets],
        best=[one.archive_genotypes[one.best(max(1, search.evaluate_top))].tolist() for one in archives],
        upper_bounds=bounds,
        history=[_history(one, budget, target, search.objectives[0])
                 for one, budget in zip(archives, budgets, strict=True)],
        front=shown,
        pareto=pareto.tolist(),
        evaluations=evaluations,
        elapsed_s=elapsed_s,
        lacking=lacking,
    )  # fmt: skip


def target_id(target: Target, budget: str) -> str:
    """The name of a device, runtime, precision (unless fp32) and budget."""
    return f"{target.name}-{budget}"


def _history(archive: SearchResult, budget: Budget, target: Target, objective: str) -> dict[str, Any]:
    reference = (float(archive.archive_accuracy.min()), budget.budget_ms)
    columns = archive.history_dict(HISTORY_STEPS, *reference)
    if objective != "accuracy":
        # What a search maximises is the negative of what is to be small.
        columns[objective] = [-value for value in columns.pop("accuracy")]
    return {
        "id": target_id(target, budget.name),
        **columns,
        "hypervolume_reference": {"score": reference[0], "latency_ms": reference[1]},
    }


def _front(
    quantities: Quantities, archives: Sequence[SearchResult], rng: np.random.Generator
) -> tuple[dict[str, Any], Genotypes]:
    """Random networks and the front, for the plot, and the front's genotypes; all objectives where there are others."""
    space, target, objectives = quantities.space, quantities.target, quantities.config.objectives
    latency_ms, accuracy = target.estimator.latency_ms, quantities.predictor.mean
    random = space.sample(RANDOM_SUBNETS_SHOWN, rng)
    best = np.empty((0, len(space.genes)), dtype=np.int64)
    if archives:
        rows = space.unique(np.concatenate([
            one.archive_genotypes[front(one.archive_accuracy, one.archive_latency_ms)] for one in archives
        ]))  # fmt: skip
        best = rows[front(accuracy(rows), latency_ms(rows))]
    shown: dict[str, Any] = {
        "device": target.device,
        "runtime": target.runtime,
        "random": _cloud(latency_ms(random), accuracy(random)),
        "pareto": _cloud(latency_ms(best), accuracy(best)) if archives else _cloud([], []),
    }
    if archives and set(objectives) != set(_DEFAULT_OBJECTIVES):
        rows = space.unique(np.concatenate([one.archive_genotypes for one in archives]))
        costs = quantities.costs(objectives)
        best = rows[non_dominated_values(np.stack([cost(rows) for cost in costs], axis=1))]
        shown["objectives"] = {name: quantities.objective(name)(best).tolist() for name in objectives}
        shown["archs"] = [space.arch(row).to_dict() for row in best]
    return shown, best


def _prove(quantities: Quantities, budgets_ms: Sequence[float], rng: np.random.Generator) -> list[ExactResult]:
    """The exact result of each budget where `search.upper_bound` asks for it and both objectives add up, else none."""
    factors = quantities.latency_limit(max(budgets_ms)).factors
    if not quantities.config.upper_bound or factors is None:
        return []
    weights = additive_weights(quantities.space, quantities.predictor.mean, rng)
    return [] if weights is None else search_exact(quantities.space, *weights, factors, budgets_ms)


def _cloud(latency: Any, accuracy: Any) -> dict[str, list[float]]:
    return {"latency_ms": np.round(latency, 6).tolist(), "accuracy": np.round(accuracy, 6).tolist()}
