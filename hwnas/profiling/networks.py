"""Which whole networks are measured: spread over the space's range of sizes, where uniform draws crowd the middle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.errors import ConfigError
from hwnas.operators import Operator
from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["input_shape", "nested_networks", "networks_at_most", "reference_network", "spread_networks"]

_BLOCK = 100
_DRAWS = 20
_LEAST_DRAWS = 200
_LISTED = 10_000  # gene combinations of which all networks are listed, rather than drawn
_TILT = 2.0


def reference_network(space: Space) -> Genotypes:
    """The genotype `[G]` of every gene's middle choice: what drift is measured on."""
    middle: Genotypes = space.canonical((space.cardinalities // 2)[None])[0]
    return middle


def input_shape(first: Operator, batch: int) -> tuple[int, int, int, int]:
    """What a chain that starts with `first` takes: `[batch, C, H, W]`."""
    return batch, first.in_channels, first.in_height, first.in_width


def networks_at_most(space: Space, count: int) -> int:
    """`count`, or how many networks there are in a space that has fewer."""
    every = space.every(_LISTED)
    return count if every is None else min(count, len(every))


def nested_networks(space: Space, count: int, rng: np.random.Generator) -> Genotypes:
    """Networks `[count, G]` as of `spread_networks`, of which the first 100, 200, … are spread evenly by themselves.

    So a slow setting's fewer networks are among those of the others. A small space may have fewer, which then are all.
    Raises ConfigError where too few are found in a larger one.
    """
    count = networks_at_most(space, count)
    found = np.zeros((0, len(space.genes)), dtype=np.int64)
    while len(found) < count:
        more = spread_networks(space, min(_BLOCK, count - len(found)), rng, without=found)
        found = np.concatenate([found, more])
    return found


def spread_networks(
    space: Space,
    count: int,
    rng: np.random.Generator,
    without: Genotypes | None = None,
    along: Callable[[Genotypes], Floats] | None = None,
) -> Genotypes:
    """`count` distinct canonical genotypes `[count, G]`, evenly spread over `along`, none of `without`.

    `along` gives a number for each of `[N, G]`; None is the logarithm of MACs. Candidates are drawn with a tilt
    towards small or large choices that differs from one to the next. Raises ConfigError where there are too few.
    """
    every = space.every(_LISTED)
    drawn = _tilted(space, max(_LEAST_DRAWS, _DRAWS * count), rng) if every is None else every
    known = np.zeros((0, len(space.genes)), dtype=np.int64) if without is None else space.canonical(without)
    # unique keeps the first of equals: candidates after `without` that equal one of its rows fall out.
    found = space.unique(np.concatenate([known, drawn]))[len(space.unique(known)) :]
    if len(found) < count:
        beside = f" beside {len(known)} known ones" if len(known) else ""
        raise ConfigError(
            f"space {space.name}: found {len(found)} networks to measure{beside}, expected {count}: ask for fewer, by"
            " profiling.networks, n or onboard.candidates"
        )
    position = np.log(space.macs(found).astype(np.float64)) if along is None else along(found)
    position = (position - position.min()) / max(float(np.ptp(position)), 1e-12)
    # Each goal takes the nearest candidate that is left; in random order, so that no end is favoured.
    goals = (np.arange(count) + rng.random(count)) / count
    left = np.ones(len(found), dtype=bool)
    chosen = np.empty(count, dtype=np.int64)
    for goal in rng.permutation(count):
        chosen[goal] = np.where(left, np.abs(position - goals[goal]), np.inf).argmin()
        left[chosen[goal]] = False
    return found[chosen]


def _tilted(space: Space, count: int, rng: np.random.Generator) -> Genotypes:
    tilt = rng.uniform(-_TILT, _TILT, size=(count, 1))
    columns = []
    for choices in space.cardinalities:
        weights = np.exp(tilt * np.linspace(-1, 1, choices))
        edges = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
        columns.append((rng.random((count, 1)) > edges[:, :-1]).sum(axis=1))
    return space.canonical(np.stack(columns, axis=1).astype(np.int64))
