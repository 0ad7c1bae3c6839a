"""Constraints beside the latency budget, any number of them, and a network that meets them all.

Shapes: N architectures, G genes, K limits.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwnas.errors import HwnasError, InfeasibleBudgetError
from hwnas.search.methods.local import changes
from hwnas.search.problem import Objective
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor, minimise_sum
from hwnas.spaces.space import Floats

__all__ = ["Limit", "find_within", "limited"]

_ROUNDS = 200
_STEP = 0.5
_STARTS = 20


@dataclass(frozen=True)
class Limit:
    """`value` of a network may be `most`, or `least` where more is better. `factors` are tables that add up to
    `value`, where there are any: they allow a proof that a limit, or several together, can't be met.
    """

    name: str
    unit: str
    value: Objective
    bound: float
    more_is_better: bool = False
    factors: Sequence[Factor] | None = None

    def load(self, genotypes: Genotypes) -> Floats:
        """How much of the limit each network uses, `[N]`: up to 1 meets it. Raises HwnasError for a NaN."""
        values = np.asarray(self.value(genotypes), dtype=np.float64)
        if np.isnan(values).any():
            raise HwnasError(
                f"constraint {self.name} is not a number for {int(np.isnan(values).sum())} of {len(values)} networks:"
                " expected a table or predictor that covers the space"
            )
        # Not bound / value: an accuracy may be predicted as 0 or less.
        return 1 + (self.bound - values) / self.bound if self.more_is_better else values / self.bound

    def __str__(self) -> str:
        return f"{self.name} {'>=' if self.more_is_better else '<='} {self.bound:g} {self.unit}"


def limited(latency_ms: Objective, limits: Sequence[Limit]) -> Objective:
    """`latency_ms`, but infinite for networks that exceed one of `limits`: what every searcher then stays within."""
    if not limits:
        return latency_ms

    def within(genotypes: Genotypes) -> Floats:
        latency = np.array(latency_ms(genotypes), dtype=np.float64)
        for limit in limits:
            latency[limit.load(genotypes) > 1] = np.inf
        return latency

    return within


def find_within(space: Space, limits: Sequence[Limit], rng: np.random.Generator) -> Genotypes:
    """A network `[G]` that meets all of `limits`.

    For limits that add up, prices of the limits are raised where the cheapest network by price exceeds them
    (Lagrangian relaxation, solved exactly by elimination); others are met by climbing down from there and from random
    networks, one change of a gene group at a time.

    Raises InfeasibleBudgetError, with the nearest network and what each limit alone would need: proven where the
    cheapest network at some prices costs more than all limits together, else for none being found.
    """
    starts, proven = _priced(space, limits)
    starts = np.concatenate([starts, np.stack([space.extreme(False), space.extreme(True)])])
    nearest, excess = _descend(space, limits, space.unique(starts))
    if excess > 1 and not proven:
        more, at = _descend(space, limits, space.sample(_STARTS, rng))
        if at < excess:
            nearest, excess = more, at
    if excess <= 1:
        return nearest
    values = {limit.name: float(limit.value(nearest[None])[0]) for limit in limits}
    alone = [_alone(space, limit) for limit in limits]
    raise InfeasibleBudgetError(
        f"no network of space {space.name} meets {' and '.join(map(str, limits))}"
        f" ({'proven' if proven else 'none was found'}){': ' if any(alone) else ''}{'; '.join(filter(None, alone))};"
        f" the nearest has {', '.join(f'{name} {value:.4g}' for name, value in values.items())}, its arch:"
        f" {json.dumps(space.arch(nearest).to_dict(), separators=(',', ':'))}"
    )


def _priced(space: Space, limits: Sequence[Limit]) -> tuple[Genotypes, bool]:
    """The cheapest networks at several prices of the limits that add up, `[M, G]`; whether they prove there is none."""
    additive = [limit for limit in limits if limit.factors is not None and not limit.more_is_better]
    found = np.empty((0, len(space.genes)), dtype=np.int64)
    if not additive:
        return found, False
    prices = np.full(len(additive), 1 / len(additive))
    rows = []
    for _ in range(_ROUNDS):
        factors = [
            (columns, table * (price / limit.bound))
            for limit, price in zip(additive, prices, strict=True)
            for columns, table in limit.factors or ()
        ]
        row, total = minimise_sum(space.cardinalities, factors)
        rows.append(space.canonical(row[None]))
        # The prices add up to 1, so that whatever meets all limits costs at most 1.
        if total > 1 + 1e-9:
            return np.concatenate(rows), True
        load = np.array([float(limit.load(rows[-1])[0]) for limit in additive])
        if len(additive) == 1 or load.max() <= 1:
            break
        prices = prices * np.exp(_STEP * (load - 1))
        prices = prices / prices.sum()
    return np.concatenate(rows), False


def _descend(space: Space, limits: Sequence[Limit], starts: Genotypes) -> tuple[Genotypes, float]:
    """The network with the smallest largest load that single changes lead to, and that load."""
    loads = _loads(limits, starts)
    place = np.lexsort(loads.T)[0]
    current, load = starts[place], loads[place]
    while load[-1] > 1:
        rows = space.canonical(changes(space, current)[0])
        loads = _loads(limits, rows)
        place = np.lexsort(loads.T)[0]
        if tuple(loads[place][::-1]) >= tuple(load[::-1]):
            break
        current, load = rows[place], loads[place]
    return current, float(load[-1])


def _loads(limits: Sequence[Limit], rows: Genotypes) -> Floats:
    """What is over the limits added up, and the largest load, `[N, 2]`: compared by the last, then by the first."""
    loads = np.stack([limit.load(rows) for limit in limits], axis=1)
    return np.stack([np.maximum(loads - 1, 0).sum(axis=1), loads.max(axis=1)], axis=1)


def _alone(space: Space, limit: Limit) -> str | None:
    if limit.factors is None or limit.more_is_better:
        return None
    row, _ = minimise_sum(space.cardinalities, limit.factors)
    least = float(limit.value(space.canonical(row[None]))[0])
    return f"the least {limit.name} is {least:.4g} {limit.unit}"
