"""How fast networks of a space train and answer here, from a few steps on noise. B images, r the resolution."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes, Space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.fold import fold_batch_norm
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

_Item = TypeVar("_Item")
_Seconds = Callable[[Sequence[Genotypes], Tensor], float]
"""What a step, of each of several draws, takes on given images."""

_FEW_IMAGES = 4  # a thread, to begin with
_TELLING_S = 0.25  # a step that takes as long is measured; of a shorter one, more images are taken
_DRAWS = 3


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
    network = build_supernet(space, config.dropout, torch.Generator().manual_seed(0)).to(processes.device)
    keep_freed_memory(space, config.batch_size // (config.shards * config.accumulate))
    *phases, single = plan_phases((*config.phases, _ANY_NETWORK), space, 1)
    with threads_per_shard(config.shards):
        probe = _Probe(config, channels_last(network), processes)
        trained = [probe.seconds_per_image(phase) for phase in (*phases, single)]
    return Speed(tuple(trained[:-1]), trained[-1], probe.seconds_per_answer(single))


_ANY_NETWORK = PhaseConfig("any network", 1, 0.1, teacher="none", opens=("all",))
"""A phase that draws from the whole space."""


class _Probe:
    def __init__(self, config: TrainingConfig, network: Supernet, processes: Processes) -> None:
        self._config, self._network, self._processes = config, network, processes
        self._gradients = Gradients(network, config.shards, config.accumulate, processes)
        self._parts = config.shards * config.accumulate

    def seconds_per_image(self, phase: PlannedPhase) -> float:
        """Training as `phase` does, over its resolutions."""
        taught = phase.config.teacher in ("first_phase", "start") and phase.index > 0

        def soften(images: Tensor) -> Tensor:
            with torch.no_grad():
                labels: Tensor = self._network(images, phase.largest).float().softmax(dim=1)
            return labels

        rule = LossRule(
            soften=soften if taught else None,
            in_place=phase.config.teacher == "in_place",
            autocast=self._processes.autocast,
        )

        def at(draws: Sequence[Genotypes], images: Tensor) -> float:
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)

            def step(genotypes: Genotypes) -> None:
                self._gradients(genotypes, images, labels, rule)

            return _median_s(step, draws)

        return self._mean(phase, at)

    def seconds_per_answer(self, phase: PlannedPhase) -> float:
        """Classifying, BatchNorm folded; on a CPU one network a thread, as accuracies are measured."""

        def at(draws: Sequence[Genotypes], images: Tensor) -> float:
            def answer(network: nn.Module) -> None:
                network(images).cpu()

            with torch.inference_mode():
                networks = [
                    channels_last(fold_batch_norm(extract(self._network, genotypes[0]).eval())) for genotypes in draws
                ]
                return _median_s(answer, networks)

        on_cpu = self._processes.device.type == "cpu"
        with threads_per_shard(torch.get_num_threads() if on_cpu else 1) as threads:
            return self._mean(phase, at) / (threads if on_cpu else 1)

    def _mean(self, phase: PlannedPhase, seconds: _Seconds) -> float:
        """Seconds an image over the phase's resolutions: along a line between the two at the ends, by their pixels."""
        choices = phase.allowed[-1]
        ends = np.unique(choices[[0, -1]])
        pixels = np.array(self._network.space.resolutions, dtype=float) ** 2
        taken = [self._at(phase, choice, seconds) for choice in ends]
        return float(np.interp(pixels[choices], pixels[ends], taken).mean())

    def _at(self, phase: PlannedPhase, resolution: int, seconds: _Seconds) -> float:
        space, rng = self._network.space, np.random.default_rng(0)
        sampler = make_sampler(space, phase)
        draws = [sampler.draw(rng) for _ in range(_DRAWS)]
        for genotypes in draws:
            genotypes[:, -1] = resolution

        def measured(draws: Sequence[Genotypes], count: int) -> float:
            size = (count, space.in_channels, *[space.resolutions[resolution]] * 2)
            return seconds(draws, torch.randn(size, device=self._processes.device))

        most = self._config.batch_size
        count, taken = 0, 0.0
        while count < most and taken < _TELLING_S:
            before, before_s = count, taken
            count = min(4 * count or _FEW_IMAGES * self._parts, most)
            measured(draws, count)  # kernels are made at a shape's first use
            taken = measured(draws, count)
        # A step takes a while whatever its images: what more of them take is the rise from one count to the next.
        each = (taken - before_s) / (count - before) if before else taken / count
        return (taken + max(each, 0.0) * (most - count)) / most


def _median_s(work: Callable[[_Item], None], items: Sequence[_Item]) -> float:
    """Seconds of `work` on one of `items`: the median, since something else disturbs some of them."""
    taken = []
    for item in items:
        began = time.perf_counter()
        work(item)
        taken.append(time.perf_counter() - began)
    return float(np.median(taken))
