"""The tensors of a chain's TFLite file, in its precision: its values, and the constants that operators read.

In int8 a value's integers stand for a range; weights have a scale for each output channel. In fp16 weights, but not
biases, are float16 and go through a DEQUANTIZE, which XNNPACK does once, as it loads the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.convolutions import same_is_symmetric
from hwnas.export.synthetic.int8 import SIGNED, Range, quantise_bias, quantise_weight
from hwnas.export.tflite.writing import GraphWriter

__all__ = ["ChainTensors"]


class ChainTensors(GraphWriter):
    """Values are named by their tensor's number."""

    def __init__(self, model: Any, batch: int, precision: str) -> None:
        super().__init__(model)
        self.int8, self._half = precision == "int8", precision == "fp16"
        self._batch = batch
        self._kind = int(self.schema.TensorType.INT8 if self.int8 else self.schema.TensorType.FLOAT32)
        self._ranges: dict[str, Range] = {}
        self._constants: dict[str, int] = {}
        self._factors: dict[str, float] = {}  # int8 values that are so many times what the network has there

    def append(self, kind: str, inputs: list[int], output: str, options: Any = None) -> None:
        """An operator after the others."""
        self.operators.append(self.new_operator(kind, inputs, int(output), options))

    # ---- values -------------------------------------------------------------------------------------------------

    def image(self, height: int, width: int, channels: int, span: Range = SIGNED) -> str:
        """A value `[batch, height, width, channels]`, in int8 of the range `span`."""
        self.model.buffers.append(self.schema.BufferT())
        return self._value((self._batch, height, width, channels), len(self.model.buffers) - 1, span)

    def matrix(self, channels: int, span: Range = SIGNED) -> str:
        """A value `[batch, channels]`."""
        return self._value((self._batch, channels), 0, span)

    def is_matrix(self, value: str) -> bool:
        """Whether a value has two axes."""
        return len(self.tensors[int(value)].shape) == 2

    def shape(self, value: str) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        _, height, width, channels = self.tensors[int(value)].shape
        return height, width, channels

    def same_fits(self, value: str, kernel: int, stride: int) -> bool:
        """Whether padding SAME is torch's for windows of that size."""
        height, width, _ = self.shape(value)
        return same_is_symmetric(height, kernel, stride) and same_is_symmetric(width, kernel, stride)

    def range(self, value: str) -> Range:
        """What a value's integers stand for."""
        return self._ranges.get(value, SIGNED)

    def factor(self, value: str) -> float:
        """How many times what the network has there a value is."""
        return self._factors.get(value, 1.0)

    def multiply(self, value: str, by: float, output: str) -> None:
        """Note that `output` is `by` times what `value` is, in the network's terms."""
        if by != 1.0 or value in self._factors:
            self._factors[output] = by * self.factor(value)

    # ---- constants ----------------------------------------------------------------------------------------------

    def weights(
        self, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, axis: int | None
    ) -> list[int]:
        """The weights and biases that `value` is multiplied by, with a scale for each index of `axis` in int8."""
        channels = weight.shape[axis or 0]
        bias = np.zeros(channels, dtype=np.float32) if bias is None else bias
        if self._half:
            return [self._widened(weight), self.constant(bias)]
        if not self.int8:
            return [self.constant(weight), self.constant(bias)]
        factor = np.float32(self.factor(value))
        integers = quantise_weight((weight / factor).astype(np.float32, copy=False), axis)
        sums = quantise_bias(bias, self.range(value).scale, integers)
        numbers = [self.constant(integers.values), self.constant(sums.values)]
        for number, tensor in zip(numbers, (integers, sums), strict=True):
            self._quantise(number, tensor.scales.tolist(), [0] * len(tensor.scales), tensor.axis)
        return numbers

    def per_pixel(self, factors: NDArray[np.float32]) -> int:
        """Factors of a value, with one scale for all in int8."""
        if not self.int8:
            return self.constant(factors)
        integers = quantise_weight(factors, None)
        number = self.constant(integers.values)
        self._quantise(number, integers.scales.tolist(), [0], 0)
        return number

    def scalar(self, value: float) -> int:
        """A number, of the values' type."""
        if not self.int8:
            return self.shared(f"scalar{value}", np.array(value, dtype=np.float32))
        number = self.shared(f"scalar{value}", np.array(127, dtype=np.int8))
        self._quantise(number, [value / 127], [0], 0)
        return number

    def lowest(self, span: Range) -> int:
        """What a maximum never picks."""
        if not self.int8:
            return self.shared("lowest", np.array(-np.inf, dtype=np.float32))
        number = self.shared(f"lowest{span}", np.array(-128, dtype=np.int8))
        self._quantise(number, [span.scale], [span.zero_point], 0)
        return number

    def shared(self, key: str, array: NDArray[Any]) -> int:
        """The constant of that key, new unless there is one."""
        if key not in self._constants:
            self._constants[key] = self.constant(array)
        return self._constants[key]

    def constant(self, array: NDArray[Any]) -> int:
        """A new constant."""
        return self.add_constant(f"tensor{len(self.tensors)}", array)

    def _value(self, shape: tuple[int, ...], buffer: int, span: Range) -> str:
        name = str(self.new_tensor(f"tensor{len(self.tensors)}", shape, self._kind, buffer))
        if self.int8:
            self._ranges[name] = span
            self._quantise(int(name), [span.scale], [span.zero_point], 0)
        return name

    def _widened(self, weight: NDArray[np.float32]) -> int:
        """Weights stored as float16."""
        output = self.new_tensor(f"tensor{len(self.tensors)}", weight.shape, self._kind)
        self.append("DEQUANTIZE", [self.constant(weight.astype(np.float16))], str(output))
        return output

    def _quantise(self, number: int, scales: list[float], zero_points: list[int], axis: int) -> None:
        self.tensors[number].quantization = self.schema.QuantizationParametersT(
            scale=scales, zeroPoint=zero_points, quantizedDimension=axis
        )
