"""From where to where a tensor's values lie, from a sample of them: what int8's scales are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SampledRange"]

_SAMPLED, _TAIL = 400, 0.001


class SampledRange:
    """The range of a tensor over many images, of each of which its two extremes and some values at random are kept.

    So outliers do not stretch the range, and the few values of a pooled tensor are not cut.
    """

    def __init__(self) -> None:
        self._samples: list[NDArray[np.float32]] = []

    def add(self, values: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Take a sample of each image's `values` `[N, …]`."""
        flat = values.reshape(len(values), -1)
        chosen = np.take_along_axis(flat, rng.integers(0, flat.shape[1], (len(flat), _SAMPLED)), axis=1)
        self._samples.append(np.concatenate([chosen, flat.min(1, keepdims=True), flat.max(1, keepdims=True)], axis=1))

    def include(self, other: SampledRange) -> None:
        """Take what `other` has: one scale is to serve both tensors."""
        self._samples += other._samples

    def bounds(self) -> tuple[float, float]:
        """The quantiles 0.001 and 0.999 of the sample."""
        low, high = np.quantile(np.concatenate(self._samples, axis=None), (_TAIL, 1 - _TAIL))
        return float(low), float(high)
