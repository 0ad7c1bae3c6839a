"""Objectives and constraints by name, as functions of genotypes, for one target.

Shapes: N architectures, O distinct operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.errors import ConfigError, choices
from hwnas.pipeline.search.sources import Predictor, Target, Targets
from hwnas.search.config import SearchConfig
from hwnas.search.limits import Limit
from hwnas.search.problem import Objective
from hwnas.search.quantities import parse_quantity
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor
from hwnas.spaces.space import Floats

__all__ = ["Quantities"]

_VALUE_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class Quantities:
    """What a search of one `target` can ask for; `targets` are all of this run, for quantities of another device."""

    space: Space
    predictor: Predictor
    target: Target
    targets: Targets
    config: SearchConfig

    def objective(self, text: str, key: str = "search.objectives") -> Objective:
        """The value `[N]` of what `text` names, in its unit. Raises ConfigError where it can't be had."""
        return self._resolve(key, text)[0]

    def limits(self) -> list[Limit]:
        """`search.constraints`. Raises ConfigError where one can't be had."""
        limits = []
        for text, bound in self.config.constraints.items():
            quantity, _ = parse_quantity("search.constraints", text)
            value, factors = self._resolve("search.constraints", text)
            limits.append(Limit(text, quantity.unit, value, bound, quantity.more_is_better, factors))
        return limits

    def latency_limit(self, budget_ms: float) -> Limit:
        """The target's own latency budget as a limit."""
        value, factors = self._latency(self.target)
        return Limit("latency_ms", "ms", value, budget_ms, factors=factors)

    def score(self) -> Objective:
        """The first objective, so that more of it is better."""
        return self._towards(self.config.objectives[0], sign=-1.0)

    def costs(self, texts: Sequence[str]) -> list[Objective]:
        """The objectives `texts`, so that less of each is better."""
        return [self._towards(text, sign=1.0) for text in texts]

    def _towards(self, text: str, sign: float) -> Objective:
        quantity, _ = parse_quantity("search.objectives", text)
        value, factor = self.objective(text), sign * quantity.sign
        if factor == 1.0:
            return value
        return lambda genotypes: factor * value(genotypes)

    def _resolve(self, key: str, text: str) -> tuple[Objective, Sequence[Factor] | None]:
        quantity, device = parse_quantity(key, text)
        target = self.target if device is None else self._target(key, text, device)
        makers: dict[str, Callable[[Target], tuple[Objective, Sequence[Factor] | None]]] = {
            "accuracy": lambda _: (self.predictor.mean, None),
            "latency_ms": self._latency,
            "energy_mj": lambda found: self._energy(key, found),
            "macs": lambda _: self._sum([operator.macs for operator in self.space.operators]),
            "parameters": lambda _: self._sum([operator.parameters for operator in self.space.operators]),
            "peak_activation_bytes": self._peak_activation,
            "file_bytes": self._file_bytes,
        }
        return makers[quantity.name](target)

    def _target(self, key: str, text: str, device: str) -> Target:
        settings = self.targets.settings
        found = [number for number, one in enumerate(settings) if device in (one.device, one.name)]
        if len(found) != 1:
            problem = "is no device of this search" if not found else "has several latency tables"
            raise ConfigError(f"{key}: {text}: {device} {problem}; {choices(device, [one.name for one in settings])}")
        return self.targets.open(found[0])

    def _latency(self, target: Target) -> tuple[Objective, Sequence[Factor] | None]:
        estimator, confidence = target.estimator, self.config.confidence

        def upper_ms(genotypes: Genotypes) -> Floats:
            return estimator.estimate(genotypes).upper_ms(confidence)

        # The mean adds up, and so nothing else does where there is a spread around it.
        return upper_ms, None if estimator.has_std and confidence != 0.5 else estimator.factors

    def _energy(self, key: str, target: Target) -> tuple[Objective, Sequence[Factor]]:
        values = target.estimator.operator_energy_mj
        if values is None:
            raise ConfigError(
                f"{key}: energy_mj: the latency table of {target.device} ({target.runtime}) has no column energy_mj:"
                " measure or import one that has, or leave energy out"
            )
        if missing := [str(self.space.operators[place]) for place in np.flatnonzero(np.isnan(values))[:3]]:
            raise ConfigError(
                f"{key}: energy_mj: the table of {target.device} lacks the energy of {int(np.isnan(values).sum())}"
                f" operators of space {self.space.name}: {'; '.join(missing)}"
            )
        return self._sum(values)

    def _peak_activation(self, target: Target) -> tuple[Objective, None]:
        size = _VALUE_BYTES.get(target.precision or "fp32", 4)
        return lambda genotypes: self.space.peak_activation_bytes(genotypes, size).astype(np.float64), None

    def _file_bytes(self, target: Target) -> tuple[Objective, Sequence[Factor]]:
        size = _VALUE_BYTES.get(target.precision or "fp32", 4)
        return self._sum([size * (operator.parameters - operator.norm_channels) for operator in self.space.operators])

    def _sum(self, values: Sequence[float] | Floats) -> tuple[Objective, Sequence[Factor]]:
        costs = np.asarray(values, dtype=np.float64)
        return lambda genotypes: self.space.sum_over_operators(genotypes, costs), self.space.factors(costs)
