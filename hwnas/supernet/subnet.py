"""One architecture as a plain network, with no elastic code in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes, OfaMbv3Space, Operator
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers import ConvBlock, InvertedResidual

__all__ = ["Subnet", "build_subnet", "conv_block"]


class Subnet(nn.Module):
    """`stem`, `blocks`, `final_expand`, `pool`, `feature_mix`, `classifier`.

    `blocks` holds the static first block, then the kept ones. Weights are as the layers' constructors leave them.
    """

    def __init__(self, operators: list[Operator], dropout: float = 0.0) -> None:
        super().__init__()
        stem, *blocks, final_expand, _, feature_mix, classifier = operators
        self.stem = conv_block(stem)
        self.blocks = nn.Sequential(*(InvertedResidual(operator) for operator in blocks))
        self.final_expand = conv_block(final_expand)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.feature_mix = conv_block(feature_mix)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(classifier.in_channels, classifier.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, C, H, W]`, normalised, to logits `[B, classes]`."""
        x = self.blocks(self.stem(x))
        x = self.feature_mix(self.pool(self.final_expand(x)))
        logits: Tensor = self.classifier(self.dropout(x.flatten(1)))
        return logits


def build_subnet(
    space: OfaMbv3Space,
    genotype: Genotypes,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Subnet:
    """The network of one genotype `[G]`, freshly initialised from `generator`: for stand-alone training."""
    subnet = Subnet(space.operators_of(space.check(genotype[None])[0]), dropout)
    initialise(subnet, generator)
    return subnet


def conv_block(operator: Operator) -> ConvBlock:
    """The static form of a `conv` operator."""
    return ConvBlock(
        operator.in_channels,
        operator.out_channels,
        operator.kernel,
        operator.stride,
        act=operator.activation,
        norm=operator.norm,
    )
