"""A device and a predictor to search with: additive latency, accuracy with interactions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from hwnas.operators import Operator
from hwnas.search.problem import Problem
from hwnas.spaces import Genotypes, OfaMbv3Config, OfaMbv3Space, make_space
from hwnas.spaces.space import Floats

TINY = OfaMbv3Config(
    resolution=(16, 24),
    widths=(8, 8, 16, 24, 32, 40),
    strides=(1, 2, 1),
    activations=("relu", "relu", "h_swish"),
    se=(False, True, False),
    kernel_sizes=(3, 5),
    expand_ratios=(2, 4),
    depths=(1, 2),
    classes=4,
)


@dataclass(frozen=True)
class Bench:
    """A space with both objectives as plain functions of genotypes."""

    space: OfaMbv3Space

    @cached_property
    def values_ms(self) -> Floats:
        """Latency of each operator: its MACs and a kernel that costs more than MACs tell."""
        rng = np.random.default_rng(0)
        return np.array([self._cost(operator) for operator in self.space.operators]) * rng.uniform(
            0.8, 1.2, len(self.space.operators)
        )

    @staticmethod
    def _cost(operator: Operator) -> float:
        return operator.macs / 2e7 * (1 + 0.1 * int(operator.traits["kernel"])) + 0.01

    def latency_ms(self, genotypes: Genotypes) -> Floats:
        return self.space.sum_over_operators(genotypes, self.values_ms)

    @cached_property
    def weights(self) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(1)
        features = int(self.space.cardinalities.sum())
        return rng.uniform(0, 1, features), rng.normal(size=(features, 4))

    def accuracy(self, genotypes: Genotypes) -> Floats:
        linear, mixing = self.weights
        features = self.space.features(genotypes)
        found: Floats = 0.5 + 0.01 * (features @ linear) + 0.02 * np.tanh(features @ mixing).sum(axis=1)
        return found

    def problem(self, budget_ms: float, **changes: Any) -> Problem:
        """The most accurate network within `budget_ms`."""
        values: dict[str, Any] = {
            "accuracy": self.accuracy,
            "latency_ms": self.latency_ms,
            "fastest": self.fastest,
        } | changes
        return Problem(self.space, budget_ms=budget_ms, **values)

    @cached_property
    def fastest(self) -> Genotypes:
        return self.space.minimise_over_operators(self.values_ms)[0]

    def quantile_ms(self, quantile: float) -> float:
        return float(np.quantile(self.latency_ms(self.space.sample(5000, np.random.default_rng(2))), quantile))

    @cached_property
    def everything(self) -> Genotypes:
        """Every distinct network: for the tiny space only."""
        grid = np.stack(np.meshgrid(*(np.arange(n) for n in self.space.cardinalities), indexing="ij"), axis=-1)
        return self.space.unique(grid.reshape(-1, len(self.space.genes)))


@pytest.fixture(scope="session")
def tiny() -> Bench:
    return Bench(make_space(TINY))


@pytest.fixture(scope="session")
def full() -> Bench:
    return Bench(make_space(OfaMbv3Config()))


@pytest.fixture(scope="session", params=["tiny", "full"])
def bench(request: pytest.FixtureRequest) -> Bench:
    chosen = request.getfixturevalue(request.param)
    assert isinstance(chosen, Bench)
    return chosen
