"""Which subnets a step trains. G genes, the last of which is the resolution; K bins of complexity."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Space
from hwnas.training.phases import PlannedPhase

__all__ = ["Sampler", "draw_resolution", "make_sampler"]

Floats = NDArray[np.float64]


class Sampler(Protocol):
    """Draws a step's subnets, and may learn from how they did."""

    def draw(self, rng: np.random.Generator) -> Genotypes:
        """The subnets of one step, canonical `[subnets_per_step, G]`, all at one drawn resolution."""
        ...

    def told(self, genotypes: Genotypes, losses: Floats) -> None:
        """The loss of each of a step's subnets `[n, G]`, `[n]`."""
        ...

    def state(self) -> dict[str, Floats]:
        """What a checkpoint keeps of it."""
        ...

    def restore(self, state: dict[str, Floats]) -> None:
        """Undo `state` on a fresh sampler."""
        ...


def make_sampler(space: Space, phase: PlannedPhase) -> Sampler:
    """The sampler that the phase names."""
    kinds = {"uniform": UniformSampler, "sandwich": SandwichSampler, "shifted": ShiftedSampler}
    return kinds[phase.config.sampler](space, phase)


def draw_resolution(phase: PlannedPhase, rng: np.random.Generator) -> int:
    """The index of a step's resolution. Every sampler's first draw, so that it can be known before the step."""
    return int(rng.choice(phase.allowed[-1]))


class UniformSampler:
    """Every gene drawn uniformly from what the phase allows."""

    def __init__(self, space: Space, phase: PlannedPhase) -> None:
        self._space, self._phase = space, phase

    def draw(self, rng: np.random.Generator) -> Genotypes:
        resolution = draw_resolution(self._phase, rng)
        rows = self._rows(rng)
        return self._space.canonical(np.array([[*row, resolution] for row in rows], dtype=np.int64))

    def told(self, genotypes: Genotypes, losses: Floats) -> None:
        """Nothing is learnt."""

    def state(self) -> dict[str, Floats]:
        return {}

    def restore(self, state: dict[str, Floats]) -> None:
        """There is nothing to restore."""

    def _rows(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """A step's choices `[G - 1]`, without the resolution."""
        return [self._uniform(rng) for _ in range(self._phase.config.subnets_per_step)]

    def _uniform(self, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.array([options[rng.integers(len(options))] for options in self._phase.allowed[:-1]], dtype=np.int64)


class SandwichSampler(UniformSampler):
    """The largest and the smallest that the phase allows, the rest drawn uniformly (Yu & Huang, 2019)."""

    def _rows(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        return [self._phase.largest[:-1], self._phase.smallest[:-1], *super()._rows(rng)[2:]]


class ShiftedSampler(UniformSampler):
    """Drawn by complexity, most often where networks still change most (after ShiftNAS, Zhang et al., ICCV 2023).

    Uniform choices are nearly all of middling size, so that small and large networks are rarely trained. Here the range
    of MACs, from the phase's smallest network to its largest on a logarithmic scale, is divided into K equal bins. A
    bin is drawn first, then a target within it, then the network nearest to that target among a pool of random ones
    whose choices lean towards small or large by a random degree; ShiftNAS trains a generator for this last step.

    The bins start out equally likely. For each, a fast and a slow running mean of the training loss are kept; their
    relative difference says how much its networks still improve. Its probability follows a softmax of the differences,
    scaled by their standard deviation, and never falls below a tenth of the uniform one. ShiftNAS likewise shifts
    probability to where performance varies most, and measures it on subnets that it evaluates for the purpose; the
    training loss costs nothing.
    """

    BINS = 8
    POOL = 64
    FAST, SLOW = 0.1, 0.02
    FLOOR = 0.1

    def __init__(self, space: Space, phase: PlannedPhase) -> None:
        super().__init__(space, phase)
        self._fast, self._slow = np.full(self.BINS, np.nan), np.full(self.BINS, np.nan)
        ends = np.stack([phase.smallest, phase.largest])
        ends[:, -1] = phase.largest[-1]
        low, high = np.log(space.macs(ends))
        self._edges = np.linspace(low, max(high, low + 1e-9), self.BINS + 1)

    @property
    def probabilities(self) -> Floats:
        """Of the bins, small networks first, `[K]`."""
        change = np.nan_to_num((self._slow - self._fast) / self._slow)
        spread = change.std()
        scores = np.exp(change / spread - (change / spread).max()) if spread > 1e-12 else np.ones(self.BINS)
        shifted: Floats = (1 - self.FLOOR) * scores / scores.sum() + self.FLOOR / self.BINS
        return shifted

    def told(self, genotypes: Genotypes, losses: Floats) -> None:
        for place, loss in zip(self._bins(genotypes), losses, strict=True):
            if np.isnan(self._fast[place]):
                self._fast[place] = self._slow[place] = loss
            self._fast[place] += self.FAST * (loss - self._fast[place])
            self._slow[place] += self.SLOW * (loss - self._slow[place])

    def state(self) -> dict[str, Floats]:
        return {"fast": self._fast, "slow": self._slow}

    def restore(self, state: dict[str, Floats]) -> None:
        self._fast, self._slow = np.array(state["fast"]), np.array(state["slow"])

    def _rows(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        return [self._of_bin(rng) for _ in range(self._phase.config.subnets_per_step)]

    def _of_bin(self, rng: np.random.Generator) -> NDArray[np.int64]:
        place = rng.choice(self.BINS, p=self.probabilities)
        target = rng.uniform(*self._edges[place : place + 2])
        pool = self._pool(rng)
        nearest = np.abs(np.log(self._space.macs(pool)) - target).argmin()
        return pool[nearest, :-1]

    def _pool(self, rng: np.random.Generator) -> Genotypes:
        """Canonical `[POOL, G]` at the largest resolution, leaning from nearly all smallest to nearly all largest."""
        lean = np.tan(np.pi / 2 * rng.uniform(-0.98, 0.98, (self.POOL, 1)))
        columns = []
        for options in self._phase.allowed[:-1]:
            weights = np.cumsum(np.exp(np.clip(lean * np.arange(len(options)), -50, 50)), axis=1)
            drawn = (rng.random((self.POOL, 1)) * weights[:, -1:] > weights).sum(axis=1)
            columns.append(options[drawn])
        columns.append(np.full(self.POOL, self._phase.largest[-1]))
        return self._space.canonical(np.stack(columns, axis=1))

    def _bins(self, genotypes: Genotypes) -> NDArray[np.int64]:
        """`[n]`. The resolution plays no part: a step's subnets share it."""
        rows = genotypes.copy()
        rows[:, -1] = self._phase.largest[-1]
        places = np.searchsorted(self._edges, np.log(self._space.macs(rows)), side="right") - 1
        return np.asarray(np.clip(places, 0, self.BINS - 1))
