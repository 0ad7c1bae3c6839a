"""One architecture as a plain network, with no elastic code in it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from hwnas.spaces import Genotypes, Space
from hwnas.supernet.layers.blocks import set_norm_eps
from hwnas.supernet.layers.kinds import static_layer

__all__ = ["Subnet"]


class Subnet(nn.Sequential):
    """The layers of one genotype `[G]`, named by their slots in the space, `dropout` before the classifier.

    Takes images `[B, C, H, W]`, normalised, and gives logits `[B, classes]`. Weights are as the layers' constructors
    leave them. Raises ArchError where the genotype is not of the space.
    """

    def __init__(self, space: Space, genotype: Genotypes, dropout: float = 0.0) -> None:
        modules: OrderedDict[str, nn.Module] = OrderedDict()
        for name, operator in space.named_operators(space.check(genotype[None])[0]).items():
            if operator.takes_flat:
                modules["flatten"], modules["dropout"] = nn.Flatten(), nn.Dropout(dropout)
            modules[name] = static_layer(operator)
        super().__init__(modules)
        set_norm_eps(self, space.norm_eps)
