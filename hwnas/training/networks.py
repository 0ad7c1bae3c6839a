"""What a run trains: a supernet or one network, fresh or from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from hwnas.errors import ConfigError
from hwnas.spaces import Genotypes, Space
from hwnas.supernet.build import build_subnet, build_supernet
from hwnas.supernet.extract import extract
from hwnas.supernet.fit import Loaded, fit
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.source import own_arch
from hwnas.supernet.supernet import Supernet
from hwnas.training.checkpoint import load_any
from hwnas.training.config import TrainingConfig
from hwnas.training.randomness import INITIALISATION, torch_generator
from hwnas.training.start import is_exact, read_source

__all__ = ["make_network"]


def make_network(
    config: TrainingConfig,
    space: Space,
    seed: int,
    genotype: Genotypes | None,
    checkpoint: Path | None,
    labels: Sequence[tuple[str, ...]] = (),
    tell: Callable[[Loaded], None] = lambda _: None,
) -> TrainedNetwork:
    """The network to train, on the CPU. `genotype` `[G]` is a single network's, None the space's largest.

    A `checkpoint` of the same space, trained on classes called as one of `labels`, is taken as it is; of any other of
    the family what fits is loaded (see `hwnas.supernet.fit`), and `tell` is told of it. One network alone without a
    `genotype` is the checkpoint's own, where the space has it.

    Raises ConfigError where config and arguments don't go together, CheckpointError for a checkpoint of another family,
    ArchError for one of the same space that doesn't hold the arch.
    """
    if config.network == "supernet" and genotype is not None:
        raise ConfigError("arch: training.network=supernet trains all archs; choose training=single or finetune")
    config = config.started(checkpoint)
    if checkpoint is None:
        config.check_fresh()
        return _fresh(config, space, seed, genotype)
    exact = is_exact(checkpoint, space, labels)
    loaded = load_any(checkpoint, space) if exact else None
    if loaded is None or (config.network == "supernet" and not isinstance(loaded, Supernet)):
        source = read_source(checkpoint)
        if genotype is None and config.network == "subnet":
            genotype = own_arch(source, space)
        network = _fresh(config, space, seed, genotype)
        tell(fit(network, source, labels))
        return network
    if isinstance(loaded, Supernet) and config.network == "supernet":
        loaded.dropout.p = config.dropout
        tell(Loaded(f"loaded all of {checkpoint}", frozenset()))
        return loaded
    if genotype is None:
        genotype = loaded.genotype if isinstance(loaded, SingleNetwork) else space.extreme(largest=True)
    with torch.no_grad():
        subnet = extract(loaded, genotype)
    single = SingleNetwork(space, genotype, subnet, config.quantisation == "int8")
    single.dropout.p = config.dropout
    return single


def _fresh(config: TrainingConfig, space: Space, seed: int, genotype: Genotypes | None) -> TrainedNetwork:
    generator = torch_generator(seed, INITIALISATION)
    if config.network == "supernet":
        return build_supernet(space, config.dropout, generator)
    genotype = space.extreme(largest=True) if genotype is None else genotype
    fresh = build_subnet(space, genotype, config.dropout, generator)
    return SingleNetwork(space, genotype, fresh, config.quantisation == "int8")
