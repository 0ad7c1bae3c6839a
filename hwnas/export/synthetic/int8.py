"""The arithmetic of int8 chains: plausible ranges for activations, quantised weights and biases.

Affine quantisation as in Jacob et al., CVPR 2018, in the form that ONNX Runtime and LiteRT run fastest: activations
int8 with a zero point, weights int8 and symmetric with one scale an output channel, biases int32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATION_RANGES", "GATE", "SIGNED", "Quantised", "Range", "quantise_bias", "quantise_weight"]


@dataclass(frozen=True)
class Range:
    """What an activation's int8 values stand for: `low` to `high`, zero among them exactly."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        return float(np.float32((self.high - self.low) / 255))

    @property
    def zero_point(self) -> int:
        return int(np.clip(round(-128 - self.low / self.scale), -128, 127))


# Chains keep activations near a standard deviation of 1.
SIGNED = Range(-4.0, 4.0)
GATE = Range(0.0, 1.0)
ACTIVATION_RANGES = {
    "none": SIGNED,
    "relu": Range(0.0, 6.0),
    "relu6": Range(0.0, 6.0),
    "h_swish": Range(-0.375, 6.0),
}


@dataclass(frozen=True)
class Quantised:
    """int8 or int32 values, and their scale: one `[1]`, or one a channel along `axis`."""

    values: NDArray[np.int8] | NDArray[np.int32]
    scales: NDArray[np.float32]
    axis: int


def quantise_weight(weight: NDArray[np.float32], axis: int | None) -> Quantised:
    """Symmetric int8 weights with a scale for each index of `axis`, or one scale for None."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    largest = np.abs(weight).max(axis=others if axis is not None else None, keepdims=True)
    scales = np.maximum(largest, 1e-8) / np.float32(127)
    values = np.clip(np.rint(weight / scales), -127, 127).astype(np.int8)
    return Quantised(values, np.asarray(scales, dtype=np.float32).reshape(-1), axis or 0)


def quantise_bias(bias: NDArray[np.float32], input_scale: float, weight: Quantised) -> Quantised:
    """int32 biases with the scales of the products that they are added to."""
    scales = (weight.scales * np.float32(input_scale)).astype(np.float32)
    return Quantised(np.rint(bias / scales).astype(np.int32), scales, 0)
