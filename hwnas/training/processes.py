"""The processes that share a run: one, or those that torchrun started. Lightning Fabric knows the devices.

Each process takes its share of every batch and finds its gradients; these are averaged once a step, in the order of the
processes, and all take the same step. The first process alone writes files; all of them read them.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor

from hwnas.errors import ConfigError, ProcessLostError
from hwnas.training.joining import join, lost_said
from hwnas.training.torchrun import process_counts

__all__ = ["Processes"]

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)  # the others wait while the first writes; a machine that lost its power says nothing


class Processes:
    """This process among them. `rank` counts from 0; `device` is where this one computes."""

    def __init__(self, accelerator: str = "cpu", precision: str = "32-true") -> None:
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        local, total = process_counts()
        together: dict[str, Any] = {}
        if total > 1:
            together = {"strategy": DDPStrategy(timeout=_TIMEOUT), "num_nodes": _machines(local, total)}
        try:
            fabric = Fabric(accelerator=accelerator, devices=local, precision=precision, **together)  # type: ignore[arg-type]
            if total > 1:
                _meet(fabric.device, total)
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
        with lost_said():
            self._fabric.all_reduce(flat, reduce_op="sum")
        flat /= self.count
        for tensor, mean in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over the processes, the same to the last bit in each of them."""
        if self.count == 1:
            return values
        total = torch.from_numpy(np.array(values)).to(self.device)
        with lost_said():
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
                with suppress(ProcessLostError):  # what ended this one is to be said
                    self.agree(False)

    def agree(self, value: T) -> T:
        """What the first process says, in each of them. All must call it."""
        if self.count == 1:
            return value
        with lost_said():
            said: T = self._fabric.broadcast(value)
        return said

    def wait(self) -> None:
        """Until all have called it."""
        if self.count > 1:
            with lost_said():
                self._fabric.barrier()

    def heed(self, signals: list[int]) -> None:
        """Add to `signals`, those that this process got, one of another's: then all stop after the same step. All must
        call it.
        """
        if self.count == 1:
            return
        got = self.sum(np.bincount(signals, minlength=signal.NSIG).astype(np.float64))
        if got.any() and not signals:
            signals.append(int(got.argmax()))


def _machines(local: int, total: int) -> int:
    machines = int(os.environ["GROUP_WORLD_SIZE"])
    if local * machines != total:
        raise ConfigError(
            f"torchrun started {total} processes on {machines} machines, {local} of them on this one: each takes as"
            " many: give all machines the same --nproc-per-node"
        )
    return machines


def _meet(device: torch.device, total: int) -> None:
    """Connect the processes; Fabric would look for them where those of before a restart left their addresses."""
    if torch.distributed.is_initialized():
        return
    rank = int(os.environ["RANK"])
    store = join(rank, total)
    with lost_said():
        torch.distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=total, timeout=_TIMEOUT
        )
