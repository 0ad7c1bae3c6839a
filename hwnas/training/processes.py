"""The processes that share a run: one, or those that torchrun started. Lightning Fabric knows the devices.

Each process takes its share of every batch and finds its gradients; these are averaged once a step, in the order of the
processes, and all take the same step. The first process alone writes files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor

from hwnas.errors import ConfigError
from hwnas.training.torchrun import process_counts

__all__ = ["Processes"]

_TIMEOUT = timedelta(hours=2)  # the others wait while the first writes or is asked for a network


class Processes:
    """This process among them. `rank` counts from 0; `device` is where this one computes."""

    def __init__(self, accelerator: str = "cpu", precision: str = "32-true") -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        local, total = process_counts()
        together: dict[str, Any] = {}
        if total > 1:
            together = {"strategy": DDPStrategy(timeout=_TIMEOUT), "num_nodes": total // local}
        try:
            fabric = Fabric(accelerator=accelerator, devices=local, precision=precision, **together)  # type: ignore[arg-type]
            fabric.launch()
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(
                f"training.accelerator={accelerator} with {local} processes on this machine: {reason}"
            ) from error
        self._fabric = fabric
        self.rank, self.count, self.device = fabric.global_rank, fabric.world_size, fabric.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def autocast(self) -> AbstractContextManager[None]:
        """The context of a forward pass in the chosen precision."""
        context: AbstractContextManager[None] = self._fabric.autocast()
        return context

    def share(self, length: int) -> slice:
        """This process's part of `length` things, which `count` divides."""
        size = length // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its mean over the processes, in place, all in one exchange."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._fabric.all_reduce(flat, reduce_op="sum")
        flat /= self.count
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the processes, the same to the last bit in each of them."""
        if self.count == 1:
            return values
        total = torch.from_numpy(np.array(values)).to(self.device)
        self._fabric.all_reduce(total, reduce_op="sum")
        summed: NDArray[np.float64] = total.cpu().numpy()
        return summed

    @contextmanager
    def told_to_go_on(self) -> Iterator[Callable[[], Processes]]:
        """For the first process: call what is yielded, and the others hear True from `agree`; else False at the end."""
        told: list[bool] = []

        def go_on() -> Processes:
            told.append(self.agree(True))
            return self

        try:
            yield go_on
        finally:
            if not told:
                self.agree(False)

    def agree(self, value: bool) -> bool:
        """What the first process says, in each of them. All must call it."""
        return bool(self._fabric.broadcast(value)) if self.count > 1 else value
