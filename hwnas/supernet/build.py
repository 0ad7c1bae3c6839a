"""Networks with fresh weights."""

from __future__ import annotations

import torch

from hwnas.spaces import Genotypes, Space
from hwnas.supernet.initialise import initialise
from hwnas.supernet.subnet import Subnet
from hwnas.supernet.supernet import Supernet

__all__ = ["build_subnet", "build_supernet"]


def build_supernet(space: Space, dropout: float = 0.0, generator: torch.Generator | None = None) -> Supernet:
    """The supernet of `space`, freshly initialised from `generator`. `dropout` is before the classifier."""
    supernet = Supernet(space, dropout)
    initialise(supernet, generator)
    return supernet


def build_subnet(
    space: Space, genotype: Genotypes, dropout: float = 0.0, generator: torch.Generator | None = None
) -> Subnet:
    """The network of one genotype `[G]`, freshly initialised from `generator`: for stand-alone training."""
    subnet = Subnet(space, genotype, dropout)
    initialise(subnet, generator)
    return subnet
