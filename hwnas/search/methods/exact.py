"""The best network of every budget, proven, where accuracy and latency both add up over genes and slots.

A multiple-choice knapsack (Kellerer, Pferschy and Pisinger, Knapsack Problems, 2004, chapter 11) for each setting of
the genes that several slots share (resolution, depths): dynamic programming over slots, on a grid of latencies.

There is no such proof for a neural predictor here. Tried on the published accuracy network (128-400-400-400-1):

- A linear relaxation of its ReLUs (CROWN, Zhang et al., NeurIPS 2018) with a Lagrangian of the budget, resolution and
  depths already fixed. Not one of its 1200 units is provably on or off with 20 free blocks, and the bound is an
  accuracy of 29 at 20 ms (38 at 40 ms) where 0.81 is attained.
- Bounds of each unit by linear programs over the blocks' joint choices (each block picks one of nine), the budget and
  the relaxed layers before, as big-M for a mixed-integer program. With 18 of 20 blocks fixed at the best network found
  for 30 ms, so that two are free (81 networks), 226 of the second layer's 400 units stay undecided, and its 800
  programs take 80 s: evaluating what is to be ruled out is quicker, and nothing was proven for the whole space.

Shapes: G genes, P settings of the shared genes, L steps of the grid, B budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.search.problem import Objective
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.elimination import Factor
from hwnas.spaces.space import Floats

__all__ = ["ExactResult", "additive_weights", "search_exact"]

_MOST_SETTINGS = 20_000


@dataclass(frozen=True)
class ExactResult:
    """`genotype` `[G]`, or None where none was found on the grid, with its `accuracy`; no network within the budget is
    better than `upper_bound`, and the two differ only by the grid.
    """

    genotype: Genotypes | None
    accuracy: float
    upper_bound: float


def search_exact(
    space: Space,
    weights: Sequence[Floats],
    intercept: float,
    latency: Sequence[Factor],
    budgets_ms: Sequence[float],
    steps: int = 2000,
) -> list[ExactResult]:
    """For each budget, the network with the largest sum of `weights`, and a bound on it, `[B]`.

    `weights`: for each gene, what each of its choices adds to `intercept`; nothing where the gene has no effect.
    `latency`: one factor a slot, in the order of `space.slots`, whose sum is the latency in ms. The grid's step is
    the largest budget divided by `steps`. Every slot's latency is rounded up to it for the network, so that it meets
    its budget, and down for the bound, which therefore holds for all networks.

    Raises ConfigError for a space whose shared genes have too many settings to go through.
    """
    shared = [int(gene) for gene in np.flatnonzero(space.slots_of_gene != 1)]
    count = int(np.prod(space.cardinalities[shared]))
    if count > _MOST_SETTINGS:
        raise ConfigError(
            f"search.method=exact: space {space.name} has {count} settings of genes that blocks share, more than"
            f" {_MOST_SETTINGS}: choose search.method=islands"
        )
    settings = np.zeros((count, len(space.genes)), dtype=np.int64)
    settings[:, shared] = list(product(*(range(int(space.cardinalities[gene])) for gene in shared)))
    step = max(budgets_ms) / steps
    places = [int(np.floor(budget / step + 1e-9)) for budget in budgets_ms]
    upper, _ = _solve(space, settings, shared, weights, latency, step, steps, round_up=False)
    lower, chosen = _solve(space, settings, shared, weights, latency, step, steps, round_up=True)
    results = []
    for place in places:
        best = int(lower[:, place].argmax())
        if np.isneginf(lower[best, place]):
            results.append(ExactResult(None, -np.inf, intercept + float(upper[:, place].max())))
            continue
        row = _trace(space, settings[best], best, place, chosen)
        results.append(
            ExactResult(row, intercept + float(lower[best, place]), intercept + float(upper[:, place].max()))
        )
    return results


def additive_weights(
    space: Space, accuracy: Objective, rng: np.random.Generator, tolerance: float = 1e-7
) -> tuple[list[Floats], float] | None:
    """The weights and the intercept of an `accuracy` that adds up over genes, or None where it doesn't.

    Found by least squares on random networks, twice as many as there are weights, and checked on as many others.
    """
    count = int(space.cardinalities.sum())
    rows = space.sample(4 * count + 20, rng)
    features = np.concatenate([space.features(rows), np.ones((len(rows), 1))], axis=1)
    values = accuracy(rows)
    half = len(rows) // 2
    solution = np.linalg.lstsq(features[:half], values[:half], rcond=None)[0]
    if np.abs(features @ solution - values).max() > tolerance:
        return None
    return np.split(solution[:-1], np.cumsum(space.cardinalities)[:-1]), float(solution[-1])


Choice = tuple[tuple[int, ...], NDArray[np.int64], NDArray[np.int16], NDArray[np.int64]]
"""Of one slot: its own genes, their joint settings, the best of them `[P, L + 1]`, and what each costs `[P, O]`."""


def _solve(
    space: Space,
    settings: Genotypes,
    shared: Sequence[int],
    weights: Sequence[Floats],
    latency: Sequence[Factor],
    step: float,
    steps: int,
    *,
    round_up: bool,
) -> tuple[Floats, list[Choice]]:
    """The best sum of weights at each setting and latency, `[P, L + 1]`, and the choices that lead there."""
    active = space.active(settings)
    best = np.zeros((len(settings), steps + 1))
    for gene in shared:
        best += np.where(active[:, gene], np.asarray(weights[gene])[settings[:, gene]], 0.0)[:, None]
    choices: list[Choice] = []
    for columns, table in latency:
        own = tuple(column for column in columns if column not in shared)
        options = np.array(list(product(*(range(int(space.cardinalities[gene])) for gene in own))), dtype=np.int64)
        index = [
            options[None, :, own.index(column)] if column in own else settings[:, None, column] for column in columns
        ]
        cost_ms = np.broadcast_to(table[tuple(index)], (len(settings), len(options))) / step
        # What is on the grid stays there in spite of rounding errors; 1e-9 steps are no latency.
        cost = (np.ceil(cost_ms - 1e-9) if round_up else np.floor(cost_ms + 1e-9)).astype(np.int64)
        gain = np.zeros((len(settings), len(options)))
        for place, gene in enumerate(own):
            gain += np.where(active[:, gene, None], np.asarray(weights[gene])[options[:, place]][None], 0.0)
        best, chosen = _add_slot(best, cost, gain)
        choices.append((own, options, chosen, cost))
    return best, choices


def _add_slot(best: Floats, cost: NDArray[np.int64], gain: Floats) -> tuple[Floats, NDArray[np.int16]]:
    """One slot more: settings with equal costs and gains move together."""
    found = np.full_like(best, -np.inf)
    chosen = np.zeros(best.shape, dtype=np.int16)
    _, kind = np.unique(np.concatenate([cost, gain], axis=1), axis=0, return_inverse=True)
    kind = kind.ravel()
    for number in range(int(kind.max()) + 1):
        rows = np.flatnonzero(kind == number)
        before, after, which = best[rows], found[rows], chosen[rows]
        for option, (shift, value) in enumerate(zip(cost[rows[0]], gain[rows[0]], strict=True)):
            if shift >= best.shape[1]:
                continue
            candidate = before[:, : best.shape[1] - shift] + value
            better = candidate > after[:, shift:]
            np.copyto(after[:, shift:], candidate, where=better)
            which[:, shift:][better] = option
        found[rows], chosen[rows] = after, which
    return found, chosen


def _trace(space: Space, setting: Genotypes, row: int, place: int, choices: Sequence[Choice]) -> Genotypes:
    genotype = setting.copy()
    for own, options, chosen, cost in reversed(choices):
        option = int(chosen[row, place])
        genotype[list(own)] = options[option]
        place -= int(cost[row, option])
    return np.asarray(space.canonical(genotype[None])[0])
