"""Operator chains as TFLite files, operator for operator as litert-torch writes the same network. No torch.

The flatbuffer is written from TFLite's schema. What litert-torch 0.10 was seen to do, and is done here: NHWC;
ReLU and ReLU6 fused, h-swish an operator of its own; padding SAME where TFLite's rule gives the symmetric padding of
torch, else a PAD before a VALID convolution; a convolution of one input channel is a depthwise one; the h-sigmoid of
squeeze-and-excitation is a ReLU6 in a convolution whose bias holds the +3, and a product with 1/6; a mean over 1×1
pixels vanishes. In int8 the operators run on quantised tensors, input and output among them; in fp16 weights, but not
biases, are float16 and go through a DEQUANTIZE, which XNNPACK does once, as it loads the file.

And what `depthwise_tflite` and `lower_tflite` do after it: a large depthwise convolution is a sum of ones of fewer
taps; in int8 a h-swish is an ADD and a MUL, and the 1/6 of h-swish and h-sigmoid is in the weights that follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import MissingExtraError
from hwnas.export.convolutions import row_groups, same_is_symmetric
from hwnas.export.synthetic.chain import Affine, build_chain
from hwnas.export.synthetic.int8 import ACTIVATION_RANGES, SIGNED, Range, quantise_bias, quantise_weight
from hwnas.export.tflite.flatbuffer import HALF_PRECISION, AlignedBuffer, add_metadata, pack
from hwnas.files import write_bytes
from hwnas.spaces import Operator

__all__ = ["write"]

SIGNATURE = b"serving_default"
SCHEMA_VERSION = 3


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1
) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The file takes `[batch, H, W, C]`, in precision `int8` as int8, else as float32; it has the signature
    `serving_default` with `args_0` and `output_0`. The same arguments give the same bytes. Raises ValueError where the
    operators don't fit onto each other, MissingExtraError without ai-edge-litert, StorageError where the file can't be
    written.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "litert", "writing TFLite files") from cause
    first = operators[0] if operators else None
    builder = _Builder(schema, batch, precision)
    start = builder.activation_tensor(first.in_height, first.in_width, first.in_channels) if first else ""
    output = build_chain(operators, builder, start, np.random.default_rng(seed))
    if output == start:  # nothing but a pool of one pixel; a file needs an operator
        output = builder.mean(start)
    content = pack(builder.model(start, output))
    return write_bytes(path, add_metadata(content, *HALF_PRECISION) if precision == "fp16" else content)


class _Builder:
    """Collects tensors and operators in the schema's object form; implements `chain.GraphBuilder`.

    Values are named by their tensor's number.
    """

    def __init__(self, schema: Any, batch: int, precision: str) -> None:
        self._schema = schema
        self._batch = batch
        self._int8, self._half = precision == "int8", precision == "fp16"
        self._ranges: dict[str, Range] = {}
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # by TFLite's convention the first buffer is empty
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        self._constants: dict[str, int] = {}
        self._factors: dict[str, float] = {}  # int8 values that are so many times what the network has there

    # ---- chain.GraphBuilder -------------------------------------------------------------------------------------

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        height, width, channels = self._shape(value)
        out, kernel = affine.weight.shape[0], affine.weight.shape[2]
        depthwise = depthwise or channels == 1
        if depthwise and (groups := row_groups(kernel)):
            return self._sum_of_rows(value, affine, groups, stride, activation)
        padding = self._schema.Padding.SAME
        if kernel == 1:
            padding = self._schema.Padding.VALID
        elif not self._same_fits(value, kernel, stride):
            value, padding = self._pad(value, (kernel // 2,) * 2, (kernel // 2,) * 2), self._schema.Padding.VALID
        options = self._schema.DepthwiseConv2DOptionsT() if depthwise else self._schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.fusedActivationFunction = self._fused(activation)
        if depthwise:
            options.depthMultiplier = out // channels
        # torch has [out, in, k, k]; TFLite [out, k, k, in], and [1, k, k, out] where depthwise.
        weight = affine.weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        inputs = [int(value), *self._weights(value, weight, affine.bias, 3 if depthwise else 0)]
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        span = SIGNED if activation == "h_swish" else ACTIVATION_RANGES[activation]
        output = self.activation_tensor(*size, out, span)
        self._append("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, output, options)
        return self._hard_swish(output) if activation == "h_swish" else output

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        shifted = Affine(expand.weight, (0 if expand.bias is None else expand.bias) + np.float32(3))
        gate = self.convolution(squeezed, shifted, activation="relu6")
        if not self._int8:
            scaled = self.activation_tensor(*self._shape(gate))
            sixth = self._shared("sixth", np.array(1 / 6, dtype=np.float32))
            self._append("MUL", [int(gate), sixth], scaled, self._schema.MulOptionsT())
            gate = scaled
        return self._product(value, gate, self._range(value))

    def add(self, first: str, second: str, activation: str = "none") -> str:
        if factor := self._factors.get(first):  # a sum has no weights to undo it in
            span = self._range(first)
            undone = self.activation_tensor(*self._shape(first), Range(span.low / factor, span.high / factor))
            self._append("MUL", [int(first), self._scalar(1 / factor)], undone, self._schema.MulOptionsT())
            first = undone
        output = self.activation_tensor(*self._shape(first), ACTIVATION_RANGES[activation])
        options = self._schema.AddOptionsT()
        options.fusedActivationFunction = self._fused(activation)
        self._append("ADD", [int(first), int(second)], output, options)
        return output

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        height, width, _ = self._shape(value)
        same = self._same_fits(value, kernel, stride)
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        padded = value if same else self._pad(value, (kernel // 2,) * 2, (kernel // 2,) * 2, lowest=True)
        return self._window("MAX_POOL_2D", padded, kernel, stride, size, same)

    def average_pool(self, value: str, stride: int) -> str:
        height, width, _ = self._shape(value)
        size = (-(-height // stride), -(-width // stride))
        missing = (size[0] * stride - height, size[1] * stride - width)
        if not any(missing):
            return self._window("AVERAGE_POOL_2D", value, stride, stride, size, False)
        padded = self._pad(value, (0, 0), missing)
        pooled = self._window("AVERAGE_POOL_2D", padded, stride, stride, size, False)
        output = self.activation_tensor(*self._shape(pooled), self._range(value))
        # Windows at the end hold padding, which the mean must not count.
        inside = [
            np.minimum(stride, total - stride * np.arange(n)) for total, n in zip((height, width), size, strict=True)
        ]
        factors = (stride**2 / np.outer(*inside)).astype(np.float32).reshape(1, *size, 1)
        self._append("MUL", [int(pooled), self._per_pixel(factors)], output, self._schema.MulOptionsT())
        return output

    def pool(self, value: str, flat: bool = False) -> str:
        return value if self._shape(value)[:2] == (1, 1) and not flat else self.mean(value, flat)

    def linear(self, value: str, affine: Affine) -> str:
        inputs = [int(value), *self._weights(value, affine.weight, affine.bias, None)]
        output = self._matrix_tensor(affine.weight.shape[0], SIGNED)
        options = self._schema.FullyConnectedOptionsT()
        options.keepNumDims = len(self._tensors[int(value)].shape) == 2
        self._append("FULLY_CONNECTED", inputs, output, options)
        return output

    # ---- the file -----------------------------------------------------------------------------------------------

    def mean(self, value: str, flat: bool = False) -> str:
        options = self._schema.ReducerOptionsT()
        options.keepDims = not flat
        channels, span = self._shape(value)[2], self._range(value)
        output = self._matrix_tensor(channels, span) if flat else self.activation_tensor(1, 1, channels, span)
        self._carry(value, output)
        self._append("MEAN", [int(value), self._shared("axes", np.array([1, 2], dtype=np.int32))], output, options)
        return output

    def activation_tensor(self, height: int, width: int, channels: int, span: Range = SIGNED) -> str:
        """A value `[batch, height, width, channels]`, in int8 of the range `span`."""
        self._buffers.append(self._schema.BufferT())
        kind = "INT8" if self._int8 else "FLOAT32"
        name = str(self._tensor((self._batch, height, width, channels), len(self._buffers) - 1, kind))
        self._set_range(name, span)
        return name

    def _matrix_tensor(self, channels: int, span: Range) -> str:
        """A value `[batch, channels]`."""
        name = str(self._tensor((self._batch, channels), 0, "INT8" if self._int8 else "FLOAT32"))
        self._set_range(name, span)
        return name

    def model(self, start: str, output: str) -> Any:
        """The finished file in object form: one subgraph, one signature."""
        schema = self._schema
        graph = schema.SubGraphT(
            name=b"main", tensors=self._tensors, operators=self._operators, inputs=[int(start)], outputs=[int(output)]
        )
        signature = schema.SignatureDefT(
            signatureKey=SIGNATURE,
            subgraphIndex=0,
            inputs=[schema.TensorMapT(name=b"args_0", tensorIndex=int(start))],
            outputs=[schema.TensorMapT(name=b"output_0", tensorIndex=int(output))],
        )
        codes = [schema.OperatorCodeT(deprecatedBuiltinCode=c, builtinCode=c, version=1) for c in self._codes]
        return schema.ModelT(
            version=SCHEMA_VERSION,
            description=b"hwnas operator chain",
            operatorCodes=codes,
            subgraphs=[graph],
            buffers=self._buffers,
            signatureDefs=[signature],
        )

    def _hard_swish(self, value: str) -> str:
        size = self._shape(value)
        if not self._int8:
            output = self.activation_tensor(*size, ACTIVATION_RANGES["h_swish"])
            self._append("HARD_SWISH", [int(value)], output, None)
            return output
        gate = self.activation_tensor(*size, ACTIVATION_RANGES["relu6"])
        options = self._schema.AddOptionsT()
        options.fusedActivationFunction = self._fused("relu6")
        self._append("ADD", [int(value), self._scalar(3.0)], gate, options)
        return self._product(value, gate, ACTIVATION_RANGES["h_swish"])

    def _product(self, value: str, gate: str, span: Range) -> str:
        """`value` × `gate`, which in int8 is six times the gate that the network has."""
        times = 6.0 if self._int8 else 1.0
        span = Range(times * span.low, times * span.high)
        output = self.activation_tensor(*self._shape(value), span)
        self._append("MUL", [int(value), int(gate)], output, self._schema.MulOptionsT())
        if self._int8:
            self._factors[output] = times * self._factors.get(value, 1.0)
        return output

    def _sum_of_rows(
        self, value: str, affine: Affine, groups: list[tuple[int, ...]], stride: int, activation: str
    ) -> str:
        """One depthwise convolution for each group of its kernel's rows, and their sum: see `split_depthwise`."""
        height, width, channels = self._shape(value)
        kernel, size = affine.weight.shape[2], ((height - 1) // stride + 1, (width - 1) // stride + 1)
        same = self._same_fits(value, kernel, stride)
        bias, total = affine.bias, ""
        for rows in groups:
            border, read = kernel // 2 - rows[0], value
            if not same:
                read = self._pad(value, (border, kernel // 2), (border, kernel // 2))
            options = self._schema.DepthwiseConv2DOptionsT()
            options.padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
            options.strideH = options.strideW = stride
            options.dilationHFactor = rows[1] - rows[0] if len(rows) > 1 else 1
            options.depthMultiplier = affine.weight.shape[0] // channels
            weight = affine.weight[:, :, list(rows)].transpose(1, 2, 3, 0)
            partial = self.activation_tensor(*size, affine.weight.shape[0])
            self._append("DEPTHWISE_CONV_2D", [int(read), *self._weights(read, weight, bias, 3)], partial, options)
            bias = None
            if total:
                last = rows is groups[-1]
                total = self.add(total, partial, activation if last and activation != "h_swish" else "none")
            else:
                total = partial
        return self._hard_swish(total) if activation == "h_swish" else total

    def _window(self, kind: str, value: str, kernel: int, stride: int, size: tuple[int, int], same: bool) -> str:
        options = self._schema.Pool2DOptionsT()
        options.padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
        options.strideH = options.strideW = stride
        options.filterHeight = options.filterWidth = kernel
        output = self.activation_tensor(*size, self._shape(value)[2], self._range(value))
        self._append(kind, [int(value)], output, options)
        self._carry(value, output)
        return output

    def _pad(self, value: str, before: tuple[int, int], after: tuple[int, int], lowest: bool = False) -> str:
        height, width, channels = self._shape(value)
        amounts = np.array([(0, 0), *zip(before, after, strict=True), (0, 0)], dtype=np.int32)
        size = (height + before[0] + after[0], width + before[1] + after[1])
        output = self.activation_tensor(*size, channels, self._range(value))
        inputs = [int(value), self._shared(f"pad{before}{after}", amounts)]
        if lowest:
            inputs.append(self._lowest(self._range(value)))
            self._append("PADV2", inputs, output, self._schema.PadV2OptionsT())
        else:
            self._append("PAD", inputs, output, self._schema.PadOptionsT())
        self._carry(value, output)
        return output

    def _append(self, kind: str, inputs: list[int], output: str, options: Any) -> None:
        code = int(getattr(self._schema.BuiltinOperator, kind))
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        operator.inputs, operator.outputs = inputs, [int(output)]
        if options is not None:
            operator.builtinOptions = options
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, name)
        self._operators.append(operator)

    def _weights(
        self, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None, axis: int | None
    ) -> list[int]:
        """The weights and biases that `value` is multiplied by, with a scale for each index of `axis` in int8."""
        channels = weight.shape[axis or 0]
        bias = np.zeros(channels, dtype=np.float32) if bias is None else bias
        if self._half:
            return [self._widened(weight), self._constant(bias)]
        if not self._int8:
            return [self._constant(weight), self._constant(bias)]
        factor = np.float32(self._factors.get(value, 1.0))
        integers = quantise_weight((weight / factor).astype(np.float32, copy=False), axis)
        sums = quantise_bias(bias, self._range(value).scale, integers)
        numbers = [self._constant(integers.values), self._constant(sums.values)]
        for number, tensor in zip(numbers, (integers, sums), strict=True):
            self._quantise(number, tensor.scales.tolist(), [0] * len(tensor.scales), tensor.axis)
        return numbers

    def _widened(self, weight: NDArray[np.float32]) -> int:
        """Weights stored as float16."""
        output = self._tensor(weight.shape, 0)
        self._append("DEQUANTIZE", [self._constant(weight.astype(np.float16))], str(output), None)
        return output

    def _carry(self, value: str, output: str) -> None:
        """`output` holds `value`'s numbers, and so its factor."""
        if value in self._factors:
            self._factors[output] = self._factors[value]

    def _scalar(self, value: float) -> int:
        """An int8 constant."""
        number = self._shared(f"scalar{value}", np.array(127, dtype=np.int8))
        self._quantise(number, [value / 127], [0], 0)
        return number

    def _per_pixel(self, factors: NDArray[np.float32]) -> int:
        if not self._int8:
            return self._constant(factors)
        integers = quantise_weight(factors, None)
        number = self._constant(integers.values)
        self._quantise(number, integers.scales.tolist(), [0], 0)
        return number

    def _lowest(self, span: Range) -> int:
        """What a maximum never picks."""
        if not self._int8:
            return self._shared("lowest", np.array(-np.inf, dtype=np.float32))
        number = self._shared(f"lowest{span}", np.array(-128, dtype=np.int8))
        self._quantise(number, [span.scale], [span.zero_point], 0)
        return number

    def _range(self, value: str) -> Range:
        return self._ranges.get(value, SIGNED)

    def _set_range(self, value: str, span: Range) -> None:
        if self._int8:
            self._ranges[value] = span
            self._quantise(int(value), [span.scale], [span.zero_point], 0)

    def _quantise(self, number: int, scales: list[float], zero_points: list[int], axis: int) -> None:
        parameters = self._schema.QuantizationParametersT()
        parameters.scale, parameters.zeroPoint, parameters.quantizedDimension = scales, zero_points, axis
        self._tensors[number].quantization = parameters

    def _fused(self, activation: str) -> int:
        names = {"relu": "RELU", "relu6": "RELU6"}
        return int(getattr(self._schema.ActivationFunctionType, names.get(activation, "NONE")))

    def _same_fits(self, value: str, kernel: int, stride: int) -> bool:
        height, width, _ = self._shape(value)
        return same_is_symmetric(height, kernel, stride) and same_is_symmetric(width, kernel, stride)

    def _shape(self, value: str) -> tuple[int, int, int]:
        _, height, width, channels = self._tensors[int(value)].shape
        return height, width, channels

    def _tensor(self, shape: tuple[int, ...], buffer: int, kind: str = "FLOAT32") -> int:
        tensor = self._schema.TensorT()
        tensor.shape, tensor.buffer, tensor.hasRank = list(shape), buffer, True
        tensor.type = getattr(self._schema.TensorType, kind)
        tensor.name = f"tensor{len(self._tensors)}".encode()
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, array: NDArray[Any]) -> int:
        self._buffers.append(AlignedBuffer(np.ascontiguousarray(array).tobytes(), self._schema))
        return self._tensor(array.shape, len(self._buffers) - 1, array.dtype.name.upper())

    def _shared(self, key: str, array: NDArray[Any]) -> int:
        if key not in self._constants:
            self._constants[key] = self._constant(array)
        return self._constants[key]
