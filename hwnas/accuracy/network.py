"""Fully connected ReLU networks over encoded architectures, in numpy and float32.

Shapes: N architectures, G genes, F features, H units of a layer, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwnas.accuracy.encoding import Encoding, Single
from hwnas.spaces import Genotypes

__all__ = ["GeneNetwork", "Layer"]

Layer = tuple[Single, Single]
"""Weight `[out, in]` and bias `[out]` of a linear layer."""

_CHUNK = 1024


class GeneNetwork:
    """Linear layers with ReLU between them, over an encoding's features.

    `layers` are all of them, the first over the F features that `encode` gives: with these two a bound over many
    networks can be worked out. Calling it doesn't multiply by the first: it adds up one row of a table a few genes.
    """

    def __init__(self, encoding: Encoding, layers: Sequence[Layer]) -> None:
        self.encoding = encoding
        self.layers = tuple(layers)
        self.encode = encoding.encode
        weight, self._bias = layers[0]
        self._tables = encoding.tables(weight)
        self._rest = [(np.ascontiguousarray(weight.T), bias) for weight, bias in layers[1:]]

    def __call__(self, genotypes: Genotypes) -> Single:
        """The outputs `[N, O]`."""
        outputs = np.empty((len(genotypes), len(self.layers[-1][1])), dtype=np.float32)
        buffer = np.empty((min(_CHUNK, len(genotypes)), len(self._bias)), dtype=np.float32)
        for start in range(0, len(genotypes), _CHUNK):
            states = self.encoding.states(genotypes[start : start + _CHUNK])
            outputs[start : start + _CHUNK] = self._of_states(states, buffer[: len(states)])
        return outputs

    def _of_states(self, states: np.ndarray, buffer: Single) -> Single:
        units: Single = np.repeat(self._bias[None], len(states), axis=0)
        for number, table in enumerate(self._tables):
            # Not mode="raise": numpy would then write by way of a copy.
            np.take(table, states[:, number], axis=0, out=buffer, mode="clip")
            units += buffer
        for weight, bias in self._rest:
            np.maximum(units, 0, out=units)
            units = units @ weight
            units += bias
        return units
