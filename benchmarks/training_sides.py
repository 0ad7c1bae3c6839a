"""The two sides of `training_throughput.py`: hwnas and the `ofa` package, each as its users run it."""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision_operators import declare_torchvision_operators

from hwnas.spaces import OfaMbv3Config, make_space
from hwnas.supernet.build import build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.fold import fold_batch_norm
from hwnas.supernet.layout import channels_last
from hwnas.training.config import TrainingConfig
from hwnas.training.gradients import Gradients
from hwnas.training.loss import LossRule
from hwnas.training.memory import keep_freed_memory
from hwnas.training.optimiser import make_optimiser

__all__ = ["SIDES", "Hwnas", "Reference", "Seconds"]

LABEL_SMOOTHING, WEIGHT_DECAY, LEARNING_RATE = 0.1, 3e-5, 1e-3


class Seconds(NamedTuple):
    """On the clock, and of all the process's threads: the second hardly depends on what else the machine does."""

    wall: float
    cpu: float


class Side(ABC):
    """A network, its optimiser and one batch of images a resolution; `rows` are genotypes `[n, G]`."""

    layout = torch.contiguous_format

    def __init__(self, device: str, batch_size: int, bf16: bool, shards: int = 1) -> None:
        self.space = make_space(OfaMbv3Config())
        self.device, self.batch_size, self.bf16, self.shards = torch.device(device), batch_size, bf16, shards
        self._generator = torch.Generator().manual_seed(0)
        self._images: dict[int, Tensor] = {}
        self.labels = torch.randint(0, 1000, (batch_size,), generator=self._generator).to(self.device)

    def images(self, resolution: int) -> Tensor:
        if resolution not in self._images:
            shape = self.batch_size, 3, resolution, resolution
            drawn = torch.randn(shape, generator=self._generator).to(self.device)
            self._images = {resolution: drawn.contiguous(memory_format=self.layout)}
        return self._images[resolution]

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def train(self, rows: np.ndarray, resolution: int, subnets_per_step: int) -> Seconds:
        """Of the steps that train all of `rows`."""
        images = self.images(resolution)
        return self._timed(
            lambda: [
                self.step(rows[start : start + subnets_per_step], images)
                for start in range(0, len(rows), subnets_per_step)
            ]
        )

    def evaluate(self, rows: np.ndarray, resolution: int, kind: str) -> Seconds:
        """Of two batches through each subnet, whatever has to be done to it first included."""
        images = self.images(resolution)
        prepare = {"in_supernet": self.in_supernet, "extracted": self.extracted}[kind]

        def run() -> None:
            with torch.inference_mode(), self.autocast():
                for row in rows:
                    network = prepare(row)
                    for _ in range(2):
                        network(images).argmax(dim=1).sum().item()

        return self._timed(run)

    def _timed(self, run: Callable[[], Any]) -> Seconds:
        self._wait()
        start, cpu_start = time.perf_counter(), time.process_time()
        run()
        self._wait()
        return Seconds(time.perf_counter() - start, time.process_time() - cpu_start)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @abstractmethod
    def step(self, rows: np.ndarray, images: Tensor) -> float:
        """One training step of all of `rows`; the sum of their losses."""

    @abstractmethod
    def extracted(self, row: np.ndarray) -> Callable[[Tensor], Tensor]:
        """A subnet as a network of its own, ready to be evaluated."""

    def in_supernet(self, row: np.ndarray) -> Callable[[Tensor], Tensor]:
        """A subnet ready to be evaluated where it is, for sides that do so."""
        return self.extracted(row)


class Hwnas(Side):
    """What `hwnas.training.engine` does in a step; `shards` as its config has them."""

    layout = torch.channels_last

    def __init__(self, device: str, batch_size: int, bf16: bool, shards: int = 1) -> None:
        super().__init__(device, batch_size, bf16, shards)
        if device == "cpu":
            keep_freed_memory(self.space, batch_size // shards)
        network = build_supernet(self.space, generator=torch.Generator().manual_seed(0))
        self.network = channels_last(network.to(self.device))
        config = TrainingConfig(weight_decay=WEIGHT_DECAY)
        self.optimiser = make_optimiser(self.network, config, config.phases[-1])
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE
        torch.set_num_threads(max(1, torch.get_num_threads() // shards))
        self.gradients = Gradients(self.network, shards)
        self.rule = LossRule(LABEL_SMOOTHING)

    def step(self, rows: np.ndarray, images: Tensor) -> float:
        with self.autocast():
            scores = self.gradients(rows, images, self.labels, self.rule)
        self.optimiser.step()
        return float(scores.losses.sum())

    def extracted(self, row: np.ndarray) -> Callable[[Tensor], Tensor]:
        return channels_last(fold_batch_norm(extract(self.network, row)))


class Reference(Side):
    """The `ofa` package's supernet, loss and optimiser in the order of its `train_one_epoch`, without data loading.

    It knows no shards.
    """

    def __init__(self, device: str, batch_size: int, bf16: bool, shards: int = 1) -> None:
        super().__init__(device, batch_size, bf16, shards)
        declare_torchvision_operators()
        from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
        from ofa.utils import build_optimizer, cross_entropy_with_label_smoothing

        warnings.filterwarnings("ignore", message="Implicit dimension choice")
        torch.manual_seed(0)
        self.network = OFAMobileNetV3(
            1000, dropout_rate=0.0, width_mult=1.0, ks_list=[3, 5, 7], expand_ratio_list=[3, 4, 6], depth_list=[2, 3, 4]
        ).to(self.device)
        keys = ["bn", "bias"]
        decayed, spared = (self.network.get_parameters(keys, mode=mode) for mode in ("exclude", "include"))
        options = {"momentum": 0.9, "nesterov": True}
        groups = [list(decayed), list(spared)]
        self.optimiser = build_optimizer(groups, "sgd", options, LEARNING_RATE, WEIGHT_DECAY, "bn#bias")
        self._criterion = cross_entropy_with_label_smoothing

    def _activate(self, row: np.ndarray) -> None:
        values = self.space.arch(row).values
        self.network.set_active_subnet(ks=values["ks"], e=values["e"], d=values["d"])

    def step(self, rows: np.ndarray, images: Tensor) -> float:
        self.network.train()
        self.network.zero_grad()
        total = 0.0
        for row in rows:
            self._activate(row)
            with self.autocast():
                output = self.network(images)
            loss = self._criterion(output.float(), self.labels, LABEL_SMOOTHING)
            total += loss.item()
            loss.backward()
        self.optimiser.step()
        return total

    def in_supernet(self, row: np.ndarray) -> Callable[[Tensor], Tensor]:
        self._activate(row)
        called: Callable[[Tensor], Tensor] = self.network.eval()
        return called

    def extracted(self, row: np.ndarray) -> Callable[[Tensor], Tensor]:
        self._activate(row)
        called: Callable[[Tensor], Tensor] = self.network.eval().get_active_subnet().eval()
        return called


SIDES: dict[str, type[Hwnas] | type[Reference]] = {"hwnas": Hwnas, "ofa": Reference}
