"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average of a network's parameters over a phase's steps; BatchNorm statistics stay the network's own.

    The decay grows with the number of updates n up to its full value, min(decay, (1 + n) / (10 + n)), so that the
    phase's start is soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._live = dict(network.named_parameters())
        self._decay, self.updates = decay, 0
        self._average = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self._average.values()), list(self._live.values()), 1 - decay)

    @torch.no_grad()
    def adopt(self) -> None:
        """Put the average in the network's place."""
        for name, parameter in self._live.items():
            parameter.copy_(self._average[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The network has the average as its weights in here, and its own again afterwards."""
        own = {name: parameter.detach().clone() for name, parameter in self._live.items()}
        self.adopt()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._live.items():
                    parameter.copy_(own[name])

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint: the average of each parameter, by its name."""
        return dict(self._average)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Undo `tensors` on a fresh average."""
        for name, average in self._average.items():
            average.copy_(tensors[name])
        self.updates = updates
