"""The fastest network that changes of single genes lead to.

Shapes: N architectures, G genes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hwnas.spaces import Genotypes, Space
from hwnas.spaces.genes import Floats

__all__ = ["descend"]


def descend(
    space: Space, latency_ms: Callable[[Genotypes], Floats], candidates: Genotypes, most_steps: int | None = None
) -> tuple[Genotypes, float]:
    """The network `[G]` that the fastest of `candidates` `[N, G]` leads to, and its `latency_ms`.

    Each step goes to the fastest network that differs in one gene, the first of equals, until none is faster, or after
    `most_steps`, the first look at `candidates` among them.
    """
    best, best_ms, steps = candidates[0], np.inf, 0
    while most_steps is None or steps < most_steps:
        latencies = latency_ms(candidates)
        winner = int(latencies.argmin())
        if latencies[winner] >= best_ms:
            break
        best, best_ms, steps = candidates[winner], float(latencies[winner]), steps + 1
        candidates = space.neighbours(best)
    return best, best_ms
