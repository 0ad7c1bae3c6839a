"""Cells: small graphs of edges with an operator each, which a network repeats.

Shapes: N architectures, E edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.genes import Genotypes

__all__ = ["Cell", "Kernel"]

Kernel = tuple[float, float]
"""Multiply-accumulates, and numbers read and written, of one kernel for batch 1."""


@dataclass(frozen=True)
class Cell:
    """One gene an edge, all with the same operators, of which choice 0 stands for none.

    `edges`: source and target node of each, rising by target; node 0 is the input, `output` the last. `kernels`: what
    each operator runs as on an edge of every cell's kind, one kernel a stage, none for choice 0. `live`: which edges
    of `[N, E]` genotypes are left once dead code is removed, `[N, E]`.
    """

    edges: tuple[tuple[int, int], ...]
    output: int
    kernels: tuple[tuple[Kernel, ...], ...]
    live: Callable[[Genotypes], NDArray[np.bool_]]

    @property
    def operators(self) -> int:
        """How many choices an edge has, none among them."""
        return len(self.kernels)
