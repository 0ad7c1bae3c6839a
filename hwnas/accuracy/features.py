"""What an accuracy predictor sees of an architecture: numbers, in groups that mean the same kind of thing.

Shapes: N architectures, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Genotypes, Space
from hwnas.spaces.space import Floats

__all__ = ["GeneFeatures", "Layout"]

_ONE_HOT_WEIGHT = 0.7


@dataclass(frozen=True)
class Layout:
    """`unit` `[F]`: which features are scaled together (one gene, or one quantity). `group` `[F]`: which share a
    length scale (all genes of one kind, such as every `ks`; all quantities). Numbered from 0."""

    unit: NDArray[np.int64]
    group: NDArray[np.int64]


class GeneFeatures:
    """Makes the features `[N, F]` of one space, and says how they belong together (`layout`).

    One-hot choices, choices by value (standardised per gene), log MACs, log parameters, and the number of genes that
    have an effect. A gene without effect is all zeros, in both forms. The values say that a kernel of 5 lies between
    3 and 7, which helps when rows are few; one-hot choices leave every choice its own effect, which helps when they
    are many.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._macs = np.array([operator.macs for operator in space.operators])
        self._parameters = np.array([operator.parameters for operator in space.operators])
        self._standard = np.zeros((len(space.genes), int(space.cardinalities.max())))
        for column, gene in enumerate(space.genes):
            value = np.array(gene.choices, dtype=np.float64)
            if len(value) > 1:
                self._standard[column, : len(value)] = (value - value.mean()) / value.std()
        self.layout = _layout(space)

    def __call__(self, genotypes: Genotypes) -> Floats:
        """The features of canonical or other genotypes `[N, G]`."""
        space = self._space
        active = space.active(genotypes)
        by_value = self._standard[np.arange(len(space.genes)), genotypes] * active
        macs = space.sum_over_operators(genotypes, self._macs)
        parameters = space.sum_over_operators(genotypes, self._parameters)
        quantities = np.stack([np.log1p(macs), np.log1p(parameters), active.sum(axis=1)], axis=1)
        return np.concatenate([_ONE_HOT_WEIGHT * space.features(genotypes), by_value, quantities], axis=1)


def _layout(space: Space) -> Layout:
    kinds = [gene.kind for gene in space.genes]
    distinct = list(dict.fromkeys(kinds))
    kind = np.array([distinct.index(name) for name in kinds])
    gene = np.arange(len(space.genes))
    one_hot = np.repeat(gene, space.cardinalities)
    quantities = len(gene) + np.arange(3)
    return Layout(
        unit=np.concatenate([one_hot, gene, quantities]),
        group=np.concatenate([kind[one_hot], kind, np.full(3, len(distinct))]),
    )
