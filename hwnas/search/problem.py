"""One question to a searcher: the most accurate network within a latency budget.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas.errors import ConfigError, HwnasError, InfeasibleBudgetError
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["Objective", "Problem"]

Objective = Callable[[Genotypes], Floats]
"""One number per genotype: `[N, G]` to `[N]`."""


@dataclass(frozen=True)
class Problem:
    """Maximise `accuracy` subject to `latency_ms` <= `budget_ms`.

    `fastest` `[G]` is the fastest network known: it proves that the budget can be met, and repairs what exceeds it.

    Raises ConfigError where the budget is not a positive number, InfeasibleBudgetError (with the fastest latency
    attainable and its arch) where `fastest` exceeds it, both at construction.
    """

    space: Space
    accuracy: Objective
    latency_ms: Objective
    budget_ms: float
    fastest: Genotypes

    def __post_init__(self) -> None:
        if not (math.isfinite(self.budget_ms) and self.budget_ms > 0):
            raise ConfigError(f"latency budget: expected positive milliseconds, got {self.budget_ms}")
        object.__setattr__(self, "fastest", self.space.canonical(self.space.check(self.fastest[None]))[0])
        latency = float(self.measure_latency(self.fastest[None])[0])
        if latency > self.budget_ms:
            arch = json.dumps(self.space.arch(self.fastest).to_dict(), separators=(",", ":"))
            raise InfeasibleBudgetError(
                f"no network of space {self.space.name} meets {self.budget_ms:g} ms: the fastest takes"
                f" {latency:.4g} ms; ask for at least that, or search another space; its arch: {arch}"
            )

    def starts(self, initial: Genotypes | None) -> Genotypes:
        """What a search begins with, `[1 + M, G]`: `fastest`, and `initial` `[M, G]` where given; canonical."""
        known = self.fastest[None]
        if initial is None:
            return known
        return np.concatenate([known, self.space.canonical(self.space.check(initial))])

    def measure_accuracy(self, genotypes: Genotypes) -> Floats:
        """Predicted accuracy `[N]`. Raises HwnasError where it is not a number."""
        return self._checked("accuracy", self.accuracy, genotypes)

    def measure_latency(self, genotypes: Genotypes) -> Floats:
        """Predicted latency in ms `[N]`. Raises HwnasError where it is not a number."""
        return self._checked("latency_ms", self.latency_ms, genotypes)

    def repair(self, genotypes: Genotypes, rng: np.random.Generator) -> tuple[Genotypes, Floats]:
        """Networks within the budget, `[N, G]`, and their latencies `[N]`; those that met it stay as they are.

        The others take genes of `fastest`, in a random order: 1, 2, 4 … of them, until they meet the budget. With
        all genes taken they are `fastest`, so that every row ends, after at most log2(G) + 2 rounds.
        """
        repaired = genotypes.copy()
        latency = self.measure_latency(repaired)
        over = np.flatnonzero(latency > self.budget_ms)
        genes = genotypes.shape[1]
        rank = rng.permuted(np.broadcast_to(np.arange(genes), (len(over), genes)), axis=1)
        taken = 1
        while len(over):
            mixed = np.where(rank < taken, self.fastest, genotypes[over])
            repaired[over] = self.space.canonical(mixed)
            # The last round's rows are `fastest`, whose latency was found to meet the budget.
            latency[over] = self.measure_latency(repaired[over])
            still = latency[over] > self.budget_ms
            if taken >= genes and still.any():
                raise HwnasError(
                    "latency_ms gave the fastest network two different latencies: expected the same value every time"
                )
            over, rank = over[still], rank[still]
            taken = min(genes, taken * 2)
        return repaired, latency

    def _checked(self, name: str, objective: Objective, genotypes: Genotypes) -> Floats:
        values = np.asarray(objective(genotypes), dtype=np.float64)
        if values.shape != (len(genotypes),):
            raise ValueError(f"{name}: expected one value for each of {len(genotypes)} genotypes, got {values.shape}")
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            arch = json.dumps(self.space.arch(genotypes[missing[0]]).to_dict(), separators=(",", ":"))
            raise HwnasError(
                f"{name} is not a number for {len(missing)} of {len(genotypes)} networks of space {self.space.name}:"
                f" expected a predictor or table that covers the space; the first: {arch}"
            )
        return values
