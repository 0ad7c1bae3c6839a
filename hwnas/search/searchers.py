"""The searchers by name, behind one signature."""

from __future__ import annotations

import numpy as np

from hwnas.progress import Progress, no_progress
from hwnas.search.config import SearchConfig
from hwnas.search.evolution import evolve
from hwnas.search.problem import Objective
from hwnas.search.random_search import random_search
from hwnas.search.result import SearchResult
from hwnas.spaces import Genotypes, Space

__all__ = ["search"]


def search(
    space: Space,
    accuracy: Objective,
    latency_ms: Objective,
    budget_ms: float,
    fastest: Genotypes,
    config: SearchConfig,
    rng: np.random.Generator,
    progress: Progress = no_progress,
    *,
    initial: Genotypes | None = None,
) -> SearchResult:
    """The most accurate network within `budget_ms` by `config.method`; everything else as in `evolve`."""
    if config.method == "random":
        return random_search(
            space, accuracy, latency_ms, budget_ms, fastest, config.random, rng, progress, initial=initial
        )
    return evolve(space, accuracy, latency_ms, budget_ms, fastest, config.evolution, rng, progress, initial=initial)
