"""The learning rate over a phase, as a share of its peak."""

from __future__ import annotations

import math

__all__ = ["cosine", "exponential"]


def cosine(share: float, ending: float) -> float:
    """From 1 at `share` 0 of the phase to `ending` at 1 (Loshchilov & Hutter, 2017)."""
    return ending + (1 - ending) * 0.5 * (1 + math.cos(math.pi * share))


def exponential(share: float, ending: float) -> float:
    """From 1 at `share` 0 of the decay to `ending` at 1, and constant from there on (BigNAS, Yu et al., 2020)."""
    return math.pow(ending, min(share, 1.0))
