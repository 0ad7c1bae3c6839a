"""What was loaded kept as it is, while what is new learns to go with it."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

__all__ = ["Freezing"]


class Freezing:
    """For the first `steps` steps only the parameters named in `new` learn, and the statistics of BatchNorms whose
    weights were loaded stay; batches are normalised by their own, as always in training.
    """

    def __init__(self, network: nn.Module, new: Collection[str], steps: int) -> None:
        self._steps = steps
        self._loaded = [value for name, value in network.named_parameters() if name not in new]
        self._norms = [
            (module, module.momentum)
            for name, module in network.named_modules()
            if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in new
        ]

    def at(self, step: int) -> None:
        """Set the network up for a step of the run."""
        frozen = step < self._steps
        for parameter in self._loaded:
            parameter.requires_grad_(not frozen)
        for norm, momentum in self._norms:
            norm.momentum = 0.0 if frozen else momentum
