"""Which subnets a step trains. G genes, the last of which is the resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Space
from hwnas.training.phases import PlannedPhase

__all__ = ["draw_subnets"]


def draw_subnets(space: Space, phase: PlannedPhase, rng: np.random.Generator) -> Genotypes:
    """The subnets of one step, canonical `[subnets_per_step, G]`, all at one drawn resolution."""
    count = phase.config.subnets_per_step
    resolution = int(rng.integers(0, space.cardinalities[-1]))
    rows = [_uniform(phase, rng) for _ in range(count)]
    if phase.config.sampler == "sandwich":
        rows[:2] = [phase.extreme(largest=True), phase.extreme(largest=False)]
    return space.canonical(np.array([[*row, resolution] for row in rows], dtype=np.int64))


def _uniform(phase: PlannedPhase, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.array([options[rng.integers(len(options))] for options in phase.allowed], dtype=np.int64)
