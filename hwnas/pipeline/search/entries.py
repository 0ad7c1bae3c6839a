"""The chosen network of each budget of a target, as the result has it, with what it is held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hwnas.pipeline.search.quantities import Quantities
from hwnas.pipeline.search.result import EvaluatedNetworks, SearchEntry
from hwnas.pipeline.search.target import Found, target_id
from hwnas.search.budgets import sample_near_latency
from hwnas.spaces import Genotypes

__all__ = ["Measured", "entries_of"]

Measured = Mapping[tuple[bool, bytes], float]
"""Held-out accuracies by whether as int8, and the genotype's bytes."""


def entries_of(found: Found, quantities: Quantities, measured: Measured, rng: np.random.Generator) -> list[SearchEntry]:
    """The chosen network of each budget: the best by `measured` accuracy, or by prediction where that is empty."""
    entries = []
    for budget, best, bound in zip(found.budgets, found.best, found.upper_bounds, strict=True):
        rows = np.array(best, dtype=np.int64)
        int8 = quantities.target.is_int8
        accuracy = [measured[int8, row.tobytes()] for row in rows] if measured else []
        place = int(np.argmax(accuracy)) if measured else 0  # ties go to the better prediction
        entry = _entry(rows[place], budget, bound, quantities, rng)
        if measured:
            evaluated = EvaluatedNetworks(
                accuracy_predicted=tuple(quantities.predictor.mean(rows).tolist()),
                accuracy_measured=tuple(accuracy),
                latency_ms=tuple(quantities.target.estimator.latency_ms(rows).tolist()),
            )
            entry = replace(
                entry, accuracy_measured=accuracy[place], accuracy_measured_as="int8" if int8 else "fp32",
                evaluated=evaluated,
            )  # fmt: skip
        entries.append(entry)
    return entries


def _entry(
    genotype: Genotypes,
    budget: dict[str, Any],
    bound: float | None,
    quantities: Quantities,
    rng: np.random.Generator,
) -> SearchEntry:
    space, target, search = quantities.space, quantities.target, quantities.config
    row = genotype[None]
    latency_ms = float(target.estimator.latency_ms(row)[0])
    accuracy = quantities.predictor.predict(row)
    random = sample_near_latency(
        space,
        target.estimator.latency_ms,
        latency_ms,
        search.comparison_tolerance,
        search.comparison_networks,
        rng,
        excluded=row,
    )
    return SearchEntry(
        id=target_id(target, budget["name"]),
        device=target.device,
        runtime=target.runtime,
        precision=target.precision,
        threads=target.threads,
        budget=budget["name"],
        budget_ms=budget["budget_ms"],
        latency_ms=latency_ms,
        accuracy_predicted=float(accuracy.mean[0]),
        upper_bound=bound,
        accuracy_predicted_std=None if accuracy.std is None else float(accuracy.std[0]),
        macs=int(space.macs(row)[0]),
        parameters=int(space.parameters(row)[0]),
        quantities=_extra(quantities, row) or None,
        arch=space.arch(genotype).to_dict(),
        random_archs=tuple(space.arch(other).to_dict() for other in random),
    )


def _extra(quantities: Quantities, row: Genotypes) -> dict[str, float]:
    """The values of what was asked for by name beside accuracy and latency."""
    names = dict.fromkeys([*quantities.config.objectives, *quantities.config.constraints])
    return {name: float(quantities.objective(name)(row)[0]) for name in names if name not in ("accuracy", "latency_ms")}
