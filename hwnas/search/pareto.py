"""Trade-offs between accuracy (more is better) and latency (less is better).

Shapes: N architectures, F of them on the front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces.space import Floats

__all__ = ["front", "hypervolume", "non_dominated", "non_dominated_values"]


def non_dominated(accuracy: Floats, latency_ms: Floats) -> NDArray[np.bool_]:
    """Which of the N are dominated by no other, `[N]`, in O(N log N).

    One dominates another when it is at least as good in both and better in one. Equals don't dominate each other, so
    all copies of a point on the front are kept. Raises ValueError where a value is not finite.
    """
    accuracy, latency_ms = _checked(accuracy, latency_ms)
    levels, level = np.unique(latency_ms, return_inverse=True)
    best = np.full(len(levels), -np.inf)
    np.maximum.at(best, level, accuracy)
    best_faster = np.concatenate([[-np.inf], np.maximum.accumulate(best)[:-1]])
    kept: NDArray[np.bool_] = (accuracy == best[level]) & (accuracy > best_faster[level])
    return kept


def non_dominated_values(values: Floats) -> NDArray[np.bool_]:
    """As `non_dominated`, for any number of objectives of all of which less is better: `[N, K]` to `[N]`.

    In O(N log N) for two objectives; for more, in O(N F) where F are on the front.
    """
    if values.shape[1] == 2:
        return non_dominated(-values[:, 0], values[:, 1])
    if not np.isfinite(values).all():
        raise ValueError("objectives: expected finite numbers")
    # In this order nobody is dominated by a later one, so that the first that is left is on the front.
    order = np.lexsort(values.T[::-1])
    left, kept = order, np.zeros(len(values), dtype=bool)
    while len(left):
        point, others = values[left[0]], values[left]
        equal = (others == point).all(axis=1)
        kept[left[equal]] = True
        left = left[(others < point).any(axis=1)]
    return kept


def front(accuracy: Floats, latency_ms: Floats) -> NDArray[np.int64]:
    """Indices of the non-dominated points, `[F]`, latency (and with it accuracy) rising; the first of equal points."""
    candidates = np.flatnonzero(non_dominated(accuracy, latency_ms))
    points = np.stack([np.asarray(latency_ms)[candidates], np.asarray(accuracy)[candidates]], axis=1)
    _, first = np.unique(points, axis=0, return_index=True)
    return candidates[first]


def hypervolume(accuracy: Floats, latency_ms: Floats, reference_accuracy: float, reference_latency_ms: float) -> float:
    """The area that the points dominate, up to a reference point that is worse than they are, in accuracy × ms.

    Points that are not better than the reference in both add nothing (Zitzler and Thiele, 1998).
    """
    accuracy, latency_ms = _checked(accuracy, latency_ms)
    inside = (accuracy > reference_accuracy) & (latency_ms < reference_latency_ms)
    accuracy, latency_ms = accuracy[inside], latency_ms[inside]
    chosen = front(accuracy, latency_ms)
    heights = np.diff(accuracy[chosen], prepend=reference_accuracy)
    return float(np.sum(heights * (reference_latency_ms - latency_ms[chosen])))


def _checked(accuracy: Floats, latency_ms: Floats) -> tuple[Floats, Floats]:
    accuracy, latency_ms = np.asarray(accuracy, dtype=np.float64), np.asarray(latency_ms, dtype=np.float64)
    if accuracy.shape != latency_ms.shape or accuracy.ndim != 1:
        raise ValueError(f"expected two arrays of one length, got shapes {accuracy.shape} and {latency_ms.shape}")
    if not (np.isfinite(accuracy).all() and np.isfinite(latency_ms).all()):
        raise ValueError("accuracy and latency_ms: expected finite numbers")
    return accuracy, latency_ms
