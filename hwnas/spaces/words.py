"""Elastic blocks that all choose among the same kernels and expansions, as one word a block.

Shapes: N architectures, B blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.genes import Genotypes

__all__ = ["BlockGenes"]


@dataclass(frozen=True)
class BlockGenes:
    """`kernel` and `expand` are the columns of the blocks' genes, B each, in the order in which blocks run; `kernels`
    and `expands` how many choices these have; `depths` the most blocks of each stage, which add up to B. `resolution`
    is the column of the input's size, whose choices are the space's `resolutions`.
    """

    kernel: slice
    expand: slice
    kernels: int
    expands: int
    depths: tuple[int, ...]
    resolution: int

    @property
    def count(self) -> int:
        """B."""
        return sum(self.depths)

    @property
    def pairs(self) -> int:
        """How many pairs of kernel and expansion a block may have."""
        return self.kernels * self.expands

    @property
    def size(self) -> int:
        """How many words there are, without the one for a block that is left out, which is this number itself."""
        return self.pairs * self.count

    def words(self, genotypes: Genotypes, active: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Block, kernel and expansion as one number for each block `[N, B]`, of genotypes and their active genes."""
        pair = genotypes[:, self.kernel] * self.expands + genotypes[:, self.expand]
        return np.where(active[:, self.kernel], pair + self.pairs * np.arange(self.count), self.size)
