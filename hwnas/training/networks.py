"""What a run trains: a supernet or one network, fresh or from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch

from hwnas.errors import ArchError, ConfigError
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.supernet import Supernet
from hwnas.training.checkpoint import load_any
from hwnas.training.config import TrainingConfig
from hwnas.training.randomness import INITIALISATION, torch_generator

__all__ = ["make_network"]


def make_network(
    config: TrainingConfig, space: Space, seed: int, genotype: Genotypes | None, checkpoint: Path | None
) -> TrainedNetwork:
    """The network to train, on the CPU. `genotype` `[G]` is a single network's, None the space's largest.

    Raises ConfigError where config and arguments don't go together, CheckpointError for a checkpoint of another space
    or class count, ArchError for one that doesn't hold the arch.
    """
    if config.network == "supernet" and genotype is not None:
        raise ConfigError("arch: training.network=supernet trains all archs; choose training=single or finetune")
    if (config.start == "checkpoint") != (checkpoint is not None):
        raise ConfigError(
            f"training.start={config.start}: expected checkpoint=PATH with start=checkpoint and none with start=fresh,"
            f" got {checkpoint}"
        )
    if checkpoint is None:
        generator = torch_generator(seed, INITIALISATION)
        if config.network == "supernet":
            return build_supernet(space, config.dropout, generator)
        genotype = space.extreme(largest=True) if genotype is None else genotype
        fresh = build_subnet(space, genotype, config.dropout, generator)
        return SingleNetwork(space, genotype, fresh, config.quantisation == "int8")
    loaded = load_any(checkpoint, space)
    if config.network == "supernet":
        if not isinstance(loaded, Supernet):
            raise ArchError(f"{checkpoint} holds one network, expected a supernet: choose training=finetune")
        loaded.dropout.p = config.dropout
        return loaded
    if genotype is None:
        genotype = loaded.genotype if isinstance(loaded, SingleNetwork) else space.extreme(largest=True)
    with torch.no_grad():
        network = extract(loaded, genotype)
    single = SingleNetwork(space, genotype, network, config.quantisation == "int8")
    single.dropout.p = config.dropout
    return single
