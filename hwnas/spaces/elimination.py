"""Exact minimum of a sum of small tables over shared genes: variable elimination (Dechter, 1999)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Factor", "minimise_sum"]

Factor = tuple[tuple[int, ...], NDArray[np.float64]]


def minimise_sum(cardinalities: NDArray[np.int64], factors: Sequence[Factor]) -> tuple[NDArray[np.int64], float]:
    """The row `[G]` of choice indices that minimises the sum of `factors`, and that minimum.

    A factor is the columns it depends on and its table, one axis a column. Genes are eliminated one by one, the one
    whose joint table is smallest first, which is exact; a once-for-all space never joins more than a stage's genes.
    Ties go to the lower choice index. Genes in no factor are 0.
    """
    remaining = list(factors)
    pending = {column for columns, _ in factors for column in columns}
    decisions: list[tuple[int, tuple[int, ...], NDArray[np.int64]]] = []
    while pending:
        gene = min(sorted(pending), key=lambda column: _joint_size(column, remaining, cardinalities))
        touching = [factor for factor in remaining if gene in factor[0]]
        remaining = [factor for factor in remaining if gene not in factor[0]]
        others = tuple(sorted({column for columns, _ in touching for column in columns} - {gene}))
        joint = sum(_aligned(factor, (*others, gene)) for factor in touching)
        joint = np.broadcast_to(joint, [cardinalities[column] for column in (*others, gene)])
        decisions.append((gene, others, joint.argmin(axis=-1)))
        remaining.append((others, joint.min(axis=-1)))
        pending.remove(gene)
    row = np.zeros(len(cardinalities), dtype=np.int64)
    for gene, others, best in reversed(decisions):
        row[gene] = best[tuple(row[column] for column in others)]
    return row, float(sum(np.asarray(table) for _, table in remaining))


def _joint_size(gene: int, factors: Sequence[Factor], cardinalities: NDArray[np.int64]) -> int:
    columns = {column for factor_columns, _ in factors if gene in factor_columns for column in factor_columns}
    return math.prod(int(cardinalities[column]) for column in columns)


def _aligned(factor: Factor, order: tuple[int, ...]) -> NDArray[np.float64]:
    """The factor's table with its axes put into `order`, of length 1 where it has none."""
    columns, table = factor
    present = [column for column in order if column in columns]
    transposed = table.transpose([columns.index(column) for column in present])
    shape = [table.shape[columns.index(column)] if column in columns else 1 for column in order]
    return np.asarray(transposed.reshape(shape))
