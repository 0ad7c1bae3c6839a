"""Phases laid out over steps: when each starts, what it draws from, and its learning rate. G genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, choices
from hwnas.spaces import Genotypes, Space
from hwnas.training.config import PhaseConfig
from hwnas.training.schedules import cosine, exponential

__all__ = ["PlannedPhase", "plan_phases"]

_WIDTHS = ("e", "w")  # kinds of genes whose smaller choices use only the first channels
_BIGNAS_DECAY = 2 / 3  # 0.97 every 2.4 epochs reaches 5 % after 236 of 360 epochs


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with its place in the run.

    `start` and `steps` count optimiser steps. `allowed` holds, for each gene, the choice indices that subnets are
    drawn from; the last gene is the resolution. `largest` and `smallest` are the canonical networks `[G]` of the last
    and the first of them. `settled` are the choices of each kind of width
    in use before this phase, and `reorders` says whether smaller ones begin here.
    """

    config: PhaseConfig
    index: int
    start: int
    steps: int
    warmup_steps: int
    decay_steps: int
    allowed: tuple[NDArray[np.int64], ...]
    largest: Genotypes
    smallest: Genotypes
    settled: Mapping[str, tuple[float, ...]]
    reorders: bool

    @property
    def end(self) -> int:
        return self.start + self.steps

    def learning_rate(self, step: int) -> float:
        """At a step of the whole run: linear warm-up, then the phase's schedule."""
        done = step - self.start
        peak, ending = self.config.learning_rate, self.config.ending
        if done < self.warmup_steps:
            return peak * (done + 1) / self.warmup_steps
        fall = exponential if self.config.schedule == "exponential" else cosine
        return peak * fall((done - self.warmup_steps) / max(1, self.decay_steps), ending)


def plan_phases(
    phases: Sequence[PhaseConfig],
    space: Space,
    steps_per_epoch: int,
    only: Genotypes | None = None,
) -> tuple[PlannedPhase, ...]:
    """`phases` one after another; with `only` `[G]` every phase draws that one network.

    Raises ConfigError for a choice that the space doesn't have.
    """
    planned: list[PlannedPhase] = []
    settled: dict[str, set[float]] = {kind: set() for kind in _WIDTHS}
    start = 0
    for index, phase in enumerate(phases):
        steps = max(1, round(phase.epochs * steps_per_epoch))
        allowed = _allowed(phase, space) if only is None else tuple(np.array([choice]) for choice in only)
        widths = {
            kind: {g.choices[i] for g, own in zip(space.genes, allowed, strict=True) if g.kind == kind for i in own}
            for kind in _WIDTHS
        }
        warmup = min(steps - 1, round(phase.warmup_epochs * steps_per_epoch))
        planned.append(
            PlannedPhase(
                phase,
                index,
                start,
                steps,
                warmup,
                _decay_steps(phase, steps - warmup, steps_per_epoch),
                allowed,
                _end(space, allowed, -1),
                _end(space, allowed, 0),
                {kind: tuple(sorted(values)) for kind, values in settled.items()},
                reorders=index > 0 and any(not widths[kind] <= settled[kind] for kind in _WIDTHS),
            )
        )
        settled = {kind: settled[kind] | widths[kind] for kind in _WIDTHS}
        start += steps
    return tuple(planned)


def _decay_steps(phase: PhaseConfig, steps: int, steps_per_epoch: int) -> int:
    if phase.schedule == "cosine":
        return steps
    return round(phase.decay_epochs * steps_per_epoch if phase.decay_epochs else _BIGNAS_DECAY * steps)


def _end(space: Space, allowed: tuple[NDArray[np.int64], ...], place: int) -> Genotypes:
    row = np.array([options[place] for options in allowed], dtype=np.int64)
    return np.asarray(space.canonical(row[None])[0])


def _allowed(phase: PhaseConfig, space: Space) -> tuple[NDArray[np.int64], ...]:
    wanted: dict[str, tuple[float, ...]] = {
        "ks": phase.kernel_sizes,
        "e": phase.expand_ratios,
        "w": phase.width_mults,
        "d": phase.depths,
        "r": phase.resolutions,
    }
    for kind, values in wanted.items():
        valid = sorted({choice for gene in space.genes if gene.kind == kind for choice in gene.choices})
        if wrong := sorted(set(values) - set(valid)):
            raise ConfigError(
                f"training phase {phase.name!r}: {wrong} is no choice of gene {kind!r} in space {space.name};"
                f" valid: {', '.join(map(str, valid)) or '(it has no such gene)'}"
            )
    kinds = list(dict.fromkeys(gene.kind for gene in space.genes))
    if unknown := sorted(set(phase.opens) - {"all", "f", *kinds, *wanted}):
        raise ConfigError(
            f"training phase {phase.name!r}: opens {unknown[0]!r}: {choices(unknown[0], ['all', *kinds])}"
        )
    options = []
    for gene in space.genes:
        # Genes of one kind may differ in their choices, so that one may have none of those wanted.
        drawn = range(len(gene.choices))
        opened = gene.kind in phase.opens or "all" in phase.opens
        indices = [index for index in drawn if opened or gene.choices[index] in wanted.get(gene.kind, ())]
        last = len(gene.choices) - 1
        options.append(np.array(indices or (range(last + 1) if gene.kind == "r" else [last]), dtype=np.int64))
    return tuple(options)
