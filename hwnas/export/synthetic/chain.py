"""A chain of operators as a graph with random weights: what every synthetic writer shares.

A latency table's rows are measured on such files, and whole networks too, so they hold exactly what the exporters
write for the same network: batch norm folded, the same sequence of primitives, the same shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwnas.spaces import Operator

__all__ = ["Affine", "GraphBuilder", "build_chain"]

RESIDUAL_SCALE = 0.5
GATE_MEAN = 0.5
LINEAR_SCALE = math.sqrt(0.5)  # blocks end in no activation, so what follows one needs no gain for lost negatives


@dataclass(frozen=True)
class Affine:
    """Weights of a convolution `[out, in / groups, k, k]` or of a matrix `[out, in]`, and a bias `[out]` or None."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


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


def build_chain(
    operators: Sequence[Operator], builder: GraphBuilder, value: str, rng: np.random.Generator | None
) -> str:
    """Append `operators` one after the other, from `value` on, and return the last output.

    Weights are normal with a variance that keeps activations near 1 (He et al., 2015), so that no arithmetic is
    slowed down by denormal numbers. Without `rng` they are zeros that take no memory. Raises ValueError where an
    operator doesn't fit onto the one before it.
    """
    if not operators:
        raise ValueError("a chain needs at least one operator")
    for before, after in pairwise(operators):
        given = (before.out_height, before.out_width, before.out_channels)
        if given != (after.in_height, after.in_width, after.in_channels):
            raise ValueError(f"{after} does not fit onto {before}, which gives {given}")
    for place, operator in enumerate(operators):
        if operator.kind == "mbconv":
            value = _inverted_residual(operator, builder, value, rng)
        elif operator.kind == "bottleneck":
            value = _bottleneck(operator, builder, value, rng)
        elif operator.kind == "max_pool":
            value = builder.max_pool(value, operator.kernel, operator.stride)
        elif operator.kind == "pool":
            following = operators[place + 1 : place + 2]
            value = builder.pool(value, flat=bool(following) and following[0].kind == "linear")
        elif operator.kind == "linear":
            value = builder.linear(value, _affine((operator.out_channels, operator.in_channels), rng))
        else:
            shape = (operator.out_channels, operator.in_channels, operator.kernel, operator.kernel)
            scale = RESIDUAL_SCALE if operator.residual else 1.0
            affine = _affine(shape, rng, scale=scale, bias=operator.norm)
            output = builder.convolution(value, affine, stride=operator.stride, activation=operator.activation)
            value = builder.add(value, output) if operator.residual else output
    return value


def _inverted_residual(operator: Operator, builder: GraphBuilder, start: str, rng: np.random.Generator | None) -> str:
    mid, value = operator.mid_channels, start
    if operator.expands:
        expansion = _affine((mid, operator.in_channels, 1, 1), rng, scale=LINEAR_SCALE)
        value = builder.convolution(value, expansion, activation=operator.activation)
    depthwise = _affine((mid, 1, operator.kernel, operator.kernel), rng)
    value = builder.convolution(
        value, depthwise, stride=operator.stride, depthwise=True, activation=operator.activation
    )
    if operator.se:
        squeezed = operator.se_channels
        value = builder.squeeze_excite(value, _affine((squeezed, mid, 1, 1), rng), _affine((mid, squeezed, 1, 1), rng))
    # Gates halve what passes them; residual sums grow from block to block. Both are evened out here.
    scale = (1 / GATE_MEAN if operator.se else 1.0) * (RESIDUAL_SCALE if operator.residual else 1.0)
    value = builder.convolution(value, _affine((operator.out_channels, mid, 1, 1), rng, scale=scale))
    return builder.add(start, value) if operator.residual else value


def _bottleneck(operator: Operator, builder: GraphBuilder, start: str, rng: np.random.Generator | None) -> str:
    mid, out, act, shortcut = operator.mid_channels, operator.out_channels, operator.activation, start
    if not operator.residual:
        pooled = builder.average_pool(start, operator.stride) if operator.stride > 1 else start
        projection = _affine((out, operator.in_channels, 1, 1), rng, scale=RESIDUAL_SCALE)
        shortcut = builder.convolution(pooled, projection)
    value = builder.convolution(start, _affine((mid, operator.in_channels, 1, 1), rng), activation=act)
    middle = _affine((mid, mid, operator.kernel, operator.kernel), rng)
    value = builder.convolution(value, middle, stride=operator.stride, activation=act)
    value = builder.convolution(value, _affine((out, mid, 1, 1), rng, scale=RESIDUAL_SCALE))
    return builder.add(value, shortcut, activation=act)


def _affine(
    shape: tuple[int, ...], rng: np.random.Generator | None, *, scale: float = 1.0, bias: bool = True
) -> Affine:
    if rng is None:
        zero = np.zeros((), dtype=np.float32)
        return Affine(np.broadcast_to(zero, shape), np.broadcast_to(zero, shape[:1]) if bias else None)
    deviation = np.float32(scale * math.sqrt(2 / math.prod(shape[1:])))
    weight = rng.standard_normal(shape, dtype=np.float32) * deviation
    return Affine(weight, rng.standard_normal(shape[0], dtype=np.float32) * np.float32(0.1) if bias else None)
