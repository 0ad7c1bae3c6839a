"""The once-for-all supernet: every subnet of a space in one set of weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwnas.spaces import Genotypes, OfaMbv3Space
from hwnas.supernet.elastic import ElasticInvertedResidual
from hwnas.supernet.initialise import initialise
from hwnas.supernet.layers import InvertedResidual
from hwnas.supernet.subnet import conv_block

__all__ = ["Supernet"]


class Supernet(nn.Module):
    """Elastic MobileNetV3 of an `OfaMbv3Space` (Cai et al., ICLR 2020), at any width and input size.

    `blocks` holds each stage's elastic blocks in order; depth keeps the first of a stage. Stem, first block and head
    are static. Fresh weights come from `generator`.
    """

    def __init__(self, space: OfaMbv3Space, dropout: float = 0.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.space = space
        settings = space.settings
        stem, first_block, *blocks, final_expand, _, feature_mix, classifier = space.operators_of(space.extreme(True))
        self.stem = conv_block(stem)
        self.first_block = InvertedResidual(first_block)
        self.blocks = nn.ModuleList(
            ElasticInvertedResidual(operator, settings.kernel_sizes, settings.expand_ratios) for operator in blocks
        )
        self.final_expand = conv_block(final_expand)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.feature_mix = conv_block(feature_mix)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(classifier.in_channels, classifier.out_channels)
        initialise(self, generator)

    def forward(self, x: Tensor, genotype: Genotypes) -> Tensor:
        """Logits `[B, classes]` of the subnet `genotype` `[G]`.

        `x` `[B, C, H, W]` is normalised and of any size: the genotype's resolution gene has no effect in here.
        """
        x = self.first_block(self.stem(x))
        for block, kernel, expand in self.kept_blocks(genotype):
            x = block(x, kernel, expand)
        x = self.feature_mix(self.pool(self.final_expand(x)))
        logits: Tensor = self.classifier(self.dropout(x.flatten(1)))
        return logits

    def kept_blocks(self, genotype: Genotypes) -> list[tuple[ElasticInvertedResidual, int, int]]:
        """The blocks that a subnet uses, in order, each with its kernel size and expand ratio."""
        arch = self.space.arch(genotype).values
        deepest = self.space.settings.depths[-1]
        kept = [stage * deepest + place for stage, depth in enumerate(arch["d"]) for place in range(depth)]
        return [(self.elastic_blocks[index], arch["ks"][index], arch["e"][index]) for index in kept]

    @property
    def elastic_blocks(self) -> list[ElasticInvertedResidual]:
        """`blocks` with their type."""
        return [block for block in self.blocks if isinstance(block, ElasticInvertedResidual)]
