"""Operator chains as TFLite files, operator for operator as litert-torch writes the same network. No torch.

The flatbuffer is written from TFLite's schema. What litert-torch 0.10 was seen to do, and is done here: NHWC;
ReLU and ReLU6 fused, h-swish an operator of its own; padding SAME where TFLite's rule gives the symmetric padding of
torch, else a PAD before a VALID convolution; a convolution of one input channel is a depthwise one; the h-sigmoid of
squeeze-and-excitation is a ReLU6 in a convolution whose bias holds the +3, and a product with 1/6; a mean over 1×1
pixels vanishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import MissingExtraError
from hwnas.export.chain import Affine, build_chain
from hwnas.export.flatbuffer import AlignedBuffer, pack
from hwnas.files import write_bytes
from hwnas.spaces import Operator

__all__ = ["write"]

SIGNATURE = b"serving_default"
SCHEMA_VERSION = 3


def write(operators: Sequence[Operator], path: Path | str, seed: int = 0) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The file takes float32 `[1, H, W, C]` and has the signature `serving_default` with `args_0` and `output_0`. The
    same operators and seed give the same bytes. Raises ValueError where the operators don't fit onto each other,
    MissingExtraError without ai-edge-litert, StorageError where the file can't be written.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "litert", "writing TFLite files") from cause
    first = operators[0] if operators else None
    builder = _Builder(schema)
    start = builder.activation_tensor(first.in_height, first.in_width, first.in_channels) if first else ""
    output = build_chain(operators, builder, start, np.random.default_rng(seed))
    if output == start:  # nothing but a pool of one pixel; a file needs an operator
        output = builder.mean(start)
    return write_bytes(path, pack(builder.model(start, output)))


class _Builder:
    """Collects tensors and operators in the schema's object form; implements `chain.GraphBuilder`.

    Values are named by their tensor's number.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # by TFLite's convention the first buffer is empty
        self._operators: list[Any] = []
        self._codes: dict[int, int] = {}
        self._constants: dict[str, int] = {}

    # ---- chain.GraphBuilder -------------------------------------------------------------------------------------

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        height, width, channels = self._shape(value)
        out, kernel = affine.weight.shape[0], affine.weight.shape[2]
        padding = self._schema.Padding.SAME
        if kernel == 1:
            padding = self._schema.Padding.VALID
        elif not (_same_is_symmetric(height, kernel, stride) and _same_is_symmetric(width, kernel, stride)):
            value, padding = self._pad(value, kernel // 2), self._schema.Padding.VALID
        if channels == 1 and not depthwise:
            depthwise = True
        options = self._schema.DepthwiseConv2DOptionsT() if depthwise else self._schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = padding, stride, stride
        options.fusedActivationFunction = self._fused(activation)
        if depthwise:
            options.depthMultiplier = out // channels
        # torch has [out, in, k, k]; TFLite [out, k, k, in], and [1, k, k, out] where depthwise.
        weight = affine.weight.transpose((1, 2, 3, 0) if depthwise else (0, 2, 3, 1))
        bias = np.zeros(out, dtype=np.float32) if affine.bias is None else affine.bias
        inputs = [int(value), self._constant(weight), self._constant(bias)]
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        output = self.activation_tensor(*size, out)
        self._append("DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", inputs, output, options)
        if activation == "h_swish":
            swished = self.activation_tensor(*size, out)
            self._append("HARD_SWISH", [int(output)], swished, None)
            return swished
        return output

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        shifted = Affine(expand.weight, (0 if expand.bias is None else expand.bias) + np.float32(3))
        gate = self.convolution(squeezed, shifted, activation="relu6")
        sixth = self._shared("sixth", np.array(1 / 6, dtype=np.float32))
        scaled = self.activation_tensor(*self._shape(gate))
        self._append("MUL", [int(gate), sixth], scaled, self._schema.MulOptionsT())
        output = self.activation_tensor(*self._shape(value))
        self._append("MUL", [int(value), int(scaled)], output, self._schema.MulOptionsT())
        return output

    def add(self, first: str, second: str, activation: str = "none") -> str:
        output = self.activation_tensor(*self._shape(first))
        options = self._schema.AddOptionsT()
        options.fusedActivationFunction = self._fused(activation)
        self._append("ADD", [int(first), int(second)], output, options)
        return output

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        height, width, _ = self._shape(value)
        same = _same_is_symmetric(height, kernel, stride) and _same_is_symmetric(width, kernel, stride)
        size = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        padded = value if same else self._pad(value, kernel // 2, np.float32(-np.inf))
        return self._window("MAX_POOL_2D", padded, kernel, stride, size, same)

    def average_pool(self, value: str, stride: int) -> str:
        height, width, _ = self._shape(value)
        size = (-(-height // stride), -(-width // stride))
        return self._window("AVERAGE_POOL_2D", value, stride, stride, size, bool(height % stride or width % stride))

    def pool(self, value: str, flat: bool = False) -> str:
        return value if self._shape(value)[:2] == (1, 1) and not flat else self.mean(value, flat)

    def linear(self, value: str, affine: Affine) -> str:
        output = self._tensor((1, affine.weight.shape[0]), 0)
        bias = np.zeros(affine.weight.shape[0], dtype=np.float32) if affine.bias is None else affine.bias
        inputs = [int(value), self._constant(affine.weight), self._constant(bias)]
        options = self._schema.FullyConnectedOptionsT()
        options.keepNumDims = len(self._tensors[int(value)].shape) == 2
        self._append("FULLY_CONNECTED", inputs, str(output), options)
        return str(output)

    # ---- the file -----------------------------------------------------------------------------------------------

    def mean(self, value: str, flat: bool = False) -> str:
        options = self._schema.ReducerOptionsT()
        options.keepDims = not flat
        channels = self._shape(value)[2]
        output = str(self._tensor((1, channels), 0)) if flat else self.activation_tensor(1, 1, channels)
        self._append("MEAN", [int(value), self._shared("axes", np.array([1, 2], dtype=np.int32))], output, options)
        return output

    def activation_tensor(self, height: int, width: int, channels: int) -> str:
        self._buffers.append(self._schema.BufferT())
        return str(self._tensor((1, height, width, channels), len(self._buffers) - 1))

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

    def _window(self, kind: str, value: str, kernel: int, stride: int, size: tuple[int, int], same: bool) -> str:
        options = self._schema.Pool2DOptionsT()
        options.padding = self._schema.Padding.SAME if same else self._schema.Padding.VALID
        options.strideH = options.strideW = stride
        options.filterHeight = options.filterWidth = kernel
        output = self.activation_tensor(*size, self._shape(value)[2])
        self._append(kind, [int(value)], output, options)
        return output

    def _pad(self, value: str, amount: int, filling: np.float32 | None = None) -> str:
        height, width, channels = self._shape(value)
        amounts = np.array([[0, 0], [amount, amount], [amount, amount], [0, 0]], dtype=np.int32)
        output = self.activation_tensor(height + 2 * amount, width + 2 * amount, channels)
        inputs = [int(value), self._shared(f"pad{amount}", amounts)]
        if filling is None:
            self._append("PAD", inputs, output, self._schema.PadOptionsT())
        else:
            self._append(
                "PADV2", [*inputs, self._shared("filling", np.array(filling))], output, self._schema.PadV2OptionsT()
            )
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

    def _fused(self, activation: str) -> int:
        names = {"relu": "RELU", "relu6": "RELU6"}
        return int(getattr(self._schema.ActivationFunctionType, names.get(activation, "NONE")))

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


def _same_is_symmetric(size: int, kernel: int, stride: int) -> bool:
    """Whether TFLite's SAME pads k // 2 on both sides, as torch does."""
    out = (size - 1) // stride + 1
    return (out - 1) * stride + kernel - size == 2 * (kernel // 2)
