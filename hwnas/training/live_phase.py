"""What a phase keeps between its steps: optimiser, sampler and, where asked for, the average of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hwnas.supernet.single import TrainedNetwork
from hwnas.training.average import WeightAverage
from hwnas.training.checkpoint import optimiser_tensors, restore_optimiser
from hwnas.training.config import TrainingConfig
from hwnas.training.optimiser import make_optimiser
from hwnas.training.phases import PlannedPhase
from hwnas.training.samplers import make_sampler

__all__ = ["LivePhase", "part_of"]


class LivePhase:
    """`phase` being trained on `network`."""

    def __init__(self, phase: PlannedPhase, network: TrainedNetwork, config: TrainingConfig) -> None:
        self.phase = phase
        self._network, self._clip = network, config.gradient_clip
        self.optimiser = make_optimiser(network, config, phase.config)
        self.sampler = make_sampler(network.space, phase)
        self.average = WeightAverage(network, config.ema_decay) if config.ema_decay else None

    def update(self, learning_rate: float) -> None:
        """One step along the gradients that the parameters hold."""
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._clip)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.step()
        if self.average is not None:
            self.average.update()

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        names = {parameter: name for name, parameter in self._network.named_parameters()}
        tensors = optimiser_tensors(self.optimiser, names)
        tensors |= {f"sampler/{name}": torch.from_numpy(values) for name, values in self.sampler.state().items()}
        if self.average is not None:
            tensors |= {f"average/{name}": value for name, value in self.average.tensors().items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], step: int) -> None:
        """Undo `tensors` on a fresh phase; `step` of the run's steps are done."""
        restore_optimiser(self.optimiser, dict(self._network.named_parameters()), tensors)
        self.sampler.restore({name: value.numpy() for name, value in part_of(tensors, "sampler").items()})
        if self.average is not None:
            self.average.restore(part_of(tensors, "average"), step - self.phase.start)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names start with `prefix/`, without it."""
    return {name.removeprefix(f"{prefix}/"): value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
