"""How much memory a training step will take, before it is taken."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from hwnas.errors import TrainingError
from hwnas.memory import available_mib
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.training.config import TrainingConfig

__all__ = ["check_step_fits", "out_of_memory", "step_mib"]

_IMAGES = 2
_MIB = 2**20
_WORKING = 1.6
"""What a step took at its peak, in what its forward pass keeps: 1.6 to 1.8 with 8 and 24 images of 128×128."""


def check_step_fits(network: TrainedNetwork, config: TrainingConfig, processes: int) -> None:
    """Raise TrainingError where the largest subnet's step needs more than this machine has left, on a CPU.

    An accelerator says so itself (see `out_of_memory`).
    """
    available = available_mib()
    if network.device.type != "cpu" or available is None:
        return
    needed = step_mib(network, config, processes)
    if needed > available:
        raise out_of_memory(f"about {needed:.0f} MiB a process, {available:.0f} MiB are available", network, config)


def step_mib(network: TrainedNetwork, config: TrainingConfig, processes: int) -> float:
    """An estimate for a step of the largest subnet at its largest resolution: what a forward pass of two images keeps
    for the backward pass, for as many images as are taken at once, with gradients and the optimiser's state.
    """
    space = network.space
    genotype = network.genotype if isinstance(network, SingleNetwork) else space.extreme(largest=True)
    network = copy.deepcopy(network).train()  # BatchNorm statistics and ranges stay as they are
    own = {value.untyped_storage().data_ptr() for value in (*network.parameters(), *network.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        kept.setdefault(value.untyped_storage().data_ptr(), value)
        return value

    size = space.resolutions[int(genotype[-1])]
    with torch.random.fork_rng(devices=()), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        images = torch.zeros(_IMAGES, space.in_channels, size, size).contiguous(memory_format=torch.channels_last)
        F.cross_entropy(network(images, genotype), torch.zeros(_IMAGES, dtype=torch.int64))
    of_images = sum(value.untyped_storage().nbytes() for place, value in kept.items() if place not in own)
    at_once = config.batch_size / (config.accumulate * processes)
    weights = sum(value.nbytes for value in network.parameters())
    states = 2 if config.optimiser == "adamw" else 1
    copies = config.shards * 2 + states + bool(config.ema_decay)
    return (_WORKING * of_images / _IMAGES * at_once + weights * copies) / _MIB


def out_of_memory(what: str, network: TrainedNetwork, config: TrainingConfig) -> TrainingError:
    """The error, with the settings that lower the need."""
    return TrainingError(
        f"memory: the largest subnet's training step of {config.batch_size} images at"
        f" {network.space.resolutions[-1]} pixels needs more than there is ({what}): set training.accumulate="
        f"{2 * config.accumulate} (now {config.accumulate}: images are taken in so many parts), or lower"
        " training.batch_size, or space.resolution with data.image_size"
    )
