"""What operators are written into as files to be measured: a graph in the primitives that runtimes have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["LINEAR_SCALE", "RESIDUAL_SCALE", "Affine", "GraphBuilder", "Weights"]

RESIDUAL_SCALE = 0.5
LINEAR_SCALE = math.sqrt(0.5)  # blocks end in no activation, so what follows one needs no gain for lost negatives


@dataclass(frozen=True)
class Affine:
    """Weights of a convolution `[out, in / groups, k, k]` or of a matrix `[out, in]`, and a bias `[out]` or None."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


class Weights:
    """Random weights, normal with a variance that keeps activations near 1 (He et al., 2015), so that no arithmetic is
    slowed down by denormal numbers. Without `rng` they are zeros that take no memory.
    """

    def __init__(self, rng: np.random.Generator | None) -> None:
        self._rng = rng

    def affine(self, shape: tuple[int, ...], *, scale: float = 1.0, bias: bool = True) -> Affine:
        """Weights of `shape`, times `scale`."""
        if self._rng is None:
            zero = np.zeros((), dtype=np.float32)
            return Affine(np.broadcast_to(zero, shape), np.broadcast_to(zero, shape[:1]) if bias else None)
        deviation = np.float32(scale * math.sqrt(2 / math.prod(shape[1:])))
        weight = self._rng.standard_normal(shape, dtype=np.float32) * deviation
        return Affine(weight, self._rng.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1) if bias else None)


class GraphBuilder(Protocol):
    """What a format must be able to write. Values are named by strings; each method appends and returns its output."""

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        """Padding k // 2 on every side; `depthwise` has one group a channel."""

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        """`value` × h-sigmoid(expand(ReLU(reduce(global mean of `value`))))."""

    def add(self, first: str, second: str, activation: str = "none") -> str:
        """Elementwise sum."""

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        """Padding k // 2 on every side."""

    def average_pool(self, value: str, stride: int) -> str:
        """Windows of stride × stride, those at the end cut off by the border."""

    def pool(self, value: str, flat: bool = False) -> str:
        """Mean over height and width, which stay as axes of length 1 unless `flat`."""

    def linear(self, value: str, affine: Affine) -> str:
        """A matrix product of the flattened `value`, and the bias."""
