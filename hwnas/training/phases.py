"""Phases laid out over steps: when each starts, what it draws from, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError
from hwnas.spaces import OfaMbv3Space
from hwnas.training.config import PhaseConfig

__all__ = ["PlannedPhase", "plan_phases"]


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with its place in the run.

    `start` and `steps` count optimiser steps. `allowed` holds, for each gene but the resolution, the choice indices
    that subnets are drawn from. `settled_ratios` are the expand ratios in use before this phase, and `reorders` says
    whether smaller ones begin here.
    """

    config: PhaseConfig
    index: int
    start: int
    steps: int
    warmup_steps: int
    allowed: tuple[NDArray[np.int64], ...]
    settled_ratios: tuple[int, ...]
    reorders: bool

    @property
    def end(self) -> int:
        return self.start + self.steps

    def learning_rate(self, step: int) -> float:
        """At a step of the whole run: linear warm-up, then a cosine to 0 (Loshchilov & Hutter, 2017)."""
        done = step - self.start
        if done < self.warmup_steps:
            return self.config.learning_rate * (done + 1) / self.warmup_steps
        share = (done - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def extreme(self, largest: bool) -> NDArray[np.int64]:
        """The largest or smallest allowed choices `[G - 1]`, without the resolution."""
        return np.array([options[-1 if largest else 0] for options in self.allowed], dtype=np.int64)


def plan_phases(phases: Sequence[PhaseConfig], space: OfaMbv3Space, steps_per_epoch: int) -> tuple[PlannedPhase, ...]:
    """`phases` one after another. Raises ConfigError for a choice that the space doesn't have."""
    planned: list[PlannedPhase] = []
    settled = {space.settings.expand_ratios[-1]}
    start = 0
    for index, phase in enumerate(phases):
        steps = max(1, round(phase.epochs * steps_per_epoch))
        allowed = _allowed(phase, space)
        ratios = set(phase.expand_ratios) or {space.settings.expand_ratios[-1]}
        planned.append(
            PlannedPhase(
                phase,
                index,
                start,
                steps,
                min(steps - 1, round(phase.warmup_epochs * steps_per_epoch)),
                allowed,
                tuple(sorted(settled)),
                reorders=not ratios <= settled,
            )
        )
        settled |= ratios
        start += steps
    return tuple(planned)


def _allowed(phase: PhaseConfig, space: OfaMbv3Space) -> tuple[NDArray[np.int64], ...]:
    wanted = {"ks": phase.kernel_sizes, "e": phase.expand_ratios, "d": phase.depths}
    options = []
    for gene in space.genes[:-1]:
        kind = gene.name.rstrip("0123456789")
        if wrong := set(wanted[kind]) - set(gene.choices):
            raise ConfigError(
                f"training phase {phase.name!r}: {sorted(wrong)} is no choice of gene {kind!r} in space {space.name};"
                f" valid: {', '.join(map(str, gene.choices))}"
            )
        indices = [gene.choices.index(value) for value in sorted(wanted[kind])] or [len(gene.choices) - 1]
        options.append(np.array(indices, dtype=np.int64))
    return tuple(options)
