"""A chain of operators as a graph with random weights: what every synthetic writer shares.

A latency table's rows are measured on such files, and whole networks too, so they hold exactly what the exporters
write for the same network: batch norm folded, the same sequence of primitives, the same shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import numpy as np

from hwnas.operators import Operator
from hwnas.operators.graph import GraphBuilder, Weights

__all__ = ["build_chain"]


def build_chain(
    operators: Sequence[Operator], builder: GraphBuilder, value: str, rng: np.random.Generator | None
) -> str:
    """Append `operators` one after the other, from `value` on, and return the last output.

    Weights are as of `Weights`. Raises ValueError where an operator doesn't fit onto the one before it.
    """
    if not operators:
        raise ValueError("a chain needs at least one operator")
    for before, after in pairwise(operators):
        given = (before.out_height, before.out_width, before.out_channels)
        if given != (after.in_height, after.in_width, after.in_channels):
            raise ValueError(f"{after} does not fit onto {before}, which gives {given}")
    weights = Weights(rng)
    for operator, after in zip_longest(operators, operators[1:]):
        value = operator.append(builder, value, weights, flat=after is not None and after.takes_flat)
    return value
