"""How fast networks of a space train and answer here, from a few steps on noise. B images, r the resolution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hwnas.spaces import Genotypes, Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.layout import channels_last
from hwnas.supernet.supernet import Supernet
from hwnas.training.config import PhaseConfig, TrainingConfig
from hwnas.training.engine import threads_per_shard
from hwnas.training.gradients import Gradients
from hwnas.training.loss import LossRule
from hwnas.training.memory import keep_freed_memory
from hwnas.training.phases import PlannedPhase, plan_phases
from hwnas.training.processes import Processes
from hwnas.training.samplers import make_sampler

__all__ = ["Speed", "measure_speed"]

_FEW_IMAGES = 4  # a thread, to begin with
_TELLING_S = 0.1  # a step that takes as long is measured; of a shorter one, more images are taken
_DRAWS = 5


@dataclass(frozen=True)
class Speed:
    """Seconds that an image takes, all cores at it.

    `phases`: in a step of each phase of the supernet's training, with all its subnets and the teacher. `alone`: where
    a random network of the space is trained alone; `answer`: where one classifies. Means over resolutions.
    """

    phases: tuple[float, ...]
    alone: float
    answer: float


def measure_speed(config: TrainingConfig, space: Space) -> Speed:
    """Measured within seconds, on the device that `config` trains on; where a step takes long, a part of its images
    is. What else goes on on the machine meanwhile is in it.

    Raises ConfigError where the accelerator is not there, or a phase is not of the space.
    """
    processes = Processes(config.accelerator, config.precision)
    with threads_per_shard(config.shards):
        keep_freed_memory(space, config.batch_size // (config.shards * config.accumulate))
        network = build_supernet(space, config.dropout, torch.Generator().manual_seed(0)).to(processes.device)
        probe = _Probe(config, channels_last(network), processes)
        *phases, single = plan_phases((*config.phases, _any_network(space)), space, 1)
        return Speed(
            tuple(probe.seconds_per_image(phase) for phase in phases),
            probe.seconds_per_image(single),
            probe.seconds_per_answer(single),
        )


def _any_network(space: Space) -> PhaseConfig:
    """A phase that draws from the whole space."""

    def choices(kind: str) -> set[Any]:
        return {choice for gene in space.genes if gene.kind == kind for choice in gene.choices}

    return PhaseConfig(
        "any network", 1, 0.1, teacher="none", kernel_sizes=tuple(choices("ks")), expand_ratios=tuple(choices("e")),
        width_mults=tuple(choices("w")), depths=tuple(choices("d")),
    )  # fmt: skip


class _Probe:
    def __init__(self, config: TrainingConfig, network: Supernet, processes: Processes) -> None:
        self._config, self._network, self._processes = config, network, processes
        self._gradients = Gradients(network, config.shards, config.accumulate, processes)
        self._parts = config.shards * config.accumulate

    def seconds_per_image(self, phase: PlannedPhase) -> float:
        """Training as `phase` does, over its resolutions."""
        taught = phase.config.teacher in ("first_phase", "start") and phase.index > 0

        def soften(images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                labels: torch.Tensor = self._network(images, phase.largest).float().softmax(dim=1)
            return labels

        rule = LossRule(
            soften=soften if taught else None,
            in_place=phase.config.teacher == "in_place",
            autocast=self._processes.autocast,
        )
        return self._mean(phase, rule)

    def seconds_per_answer(self, phase: PlannedPhase) -> float:
        return self._mean(phase, None)

    def _mean(self, phase: PlannedPhase, rule: LossRule | None) -> float:
        choices = phase.allowed[-1]
        ends = sorted({int(choices[0]), int(choices[-1])})
        pixels = np.array(self._network.space.resolutions, dtype=float)[choices] ** 2
        taken = [self._at(phase, choice, rule) for choice in ends]
        shown = np.array(self._network.space.resolutions, dtype=float)[ends] ** 2
        # Seconds rise in proportion to the pixels, more or less: between the two that are measured, along a line.
        return float(np.interp(pixels, shown, taken).mean())

    def _at(self, phase: PlannedPhase, resolution: int, rule: LossRule | None) -> float:
        sampler, rng = make_sampler(self._network.space, phase), np.random.default_rng(0)
        draws = [sampler.draw(rng) for _ in range(_DRAWS)]
        for genotypes in draws:
            genotypes[:, -1] = resolution
        count = _FEW_IMAGES * self._parts
        self._time(draws[:1], count, rule)  # what is made at first use
        seconds = self._time(draws[:1], count, rule)
        while count < self._config.batch_size and seconds < _TELLING_S:
            count = min(2 * count, self._config.batch_size)
            seconds = self._time(draws, count, rule)
        return seconds / count

    def _time(self, draws: Sequence[Genotypes], count: int, rule: LossRule | None) -> float:
        """Seconds of a step of `count` images, the median over `draws`: other work disturbs some of them."""
        space, device = self._network.space, self._processes.device
        size = space.resolutions[int(draws[0][0, -1])]
        images = torch.randn(count, space.in_channels, size, size, device=device)
        labels = torch.zeros(count, dtype=torch.int64, device=device)
        taken = []
        for genotypes in draws:
            began = time.perf_counter()
            if rule is not None:
                self._gradients(genotypes, images, labels, rule)
            else:
                with torch.inference_mode():
                    self._network(images, genotypes[0]).cpu()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))
