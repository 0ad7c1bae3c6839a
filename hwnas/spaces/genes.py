"""Genes: one decision each, the arrays of choices that networks are, and which genes change together.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Gene", "GeneGroups", "Genotypes"]

Genotypes = NDArray[np.int64]
"""`[N, G]` of choice indices."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gene:
    """One decision: its name and what may be chosen. Genes of one `group` are redrawn together by mutation."""

    name: str
    choices: tuple[float, ...]
    group: str

    @property
    def kind(self) -> str:
        """The name without its number: `ks`, `e`, `d`, `w` or `r`. Genes of one kind may differ in their choices."""
        return self.name.rstrip("0123456789")


@dataclass(frozen=True)
class GeneGroups:
    """The gene groups of a space, numbered in the order in which they first occur.

    `members`: the columns of each group's genes, rising. `of_gene` `[G]`: the number of each gene's group.
    """

    members: tuple[tuple[int, ...], ...]
    of_gene: NDArray[np.int64]

    @classmethod
    def of(cls, genes: Sequence[Gene]) -> GeneGroups:
        """The groups that `genes` name."""
        members: dict[str, list[int]] = {}
        for column, gene in enumerate(genes):
            members.setdefault(gene.group, []).append(column)
        names = list(members)
        of_gene = np.array([names.index(gene.group) for gene in genes], dtype=np.int64)
        return cls(tuple(map(tuple, members.values())), of_gene)

    def __len__(self) -> int:
        return len(self.members)
