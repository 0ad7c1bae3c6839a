"""One architecture as a plain network, with no elastic code in it."""

from __future__ import annotations

from hwnas.spaces import Genotypes, Space
from hwnas.supernet.layers.blocks import set_norm_eps
from hwnas.supernet.wired import OperatorNetwork

__all__ = ["Subnet"]


class Subnet(OperatorNetwork):
    """The layers of one genotype `[G]`, named by their slots in the space, `dropout` before the classifier.

    Takes images `[B, C, H, W]`, normalised, and gives logits `[B, classes]`. Weights are as the layers' constructors
    leave them. Raises ArchError where the genotype is not of the space.
    """

    def __init__(self, space: Space, genotype: Genotypes, dropout: float = 0.0) -> None:
        super().__init__(space.network_of(space.check(genotype[None])[0]), dropout)
        set_norm_eps(self, space.norm_eps)
