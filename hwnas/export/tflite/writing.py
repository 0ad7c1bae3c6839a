"""A TFLite graph that is being written, whether from nothing or in place of another: what both write alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.convolutions import row_dilation
from hwnas.export.tflite.flatbuffer import AlignedBuffer

__all__ = ["GraphWriter", "padding_amounts"]


class GraphWriter:
    """The one subgraph of `model` (ModelT), in the schema's object form; `operators` in the order in which they run.

    Tensors go by their number in `tensors`.
    """

    def __init__(self, model: Any) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.model = schema, model
        self.subgraph = model.subgraphs[0]
        self.operators: list[Any] = self.subgraph.operators
        self.tensors: list[Any] = self.subgraph.tensors

    def new_tensor(self, name: str, shape: Sequence[int], kind: int, buffer: int = 0, has_rank: bool = True) -> int:
        """A new tensor of the schema's type `kind`; buffer 0 is without content."""
        tensor = self.schema.TensorT
        self.tensors.append(tensor(name=name.encode(), shape=list(shape), type=kind, buffer=buffer, hasRank=has_rank))
        return len(self.tensors) - 1

    def add_constant(self, name: str, values: NDArray[Any]) -> int:
        """A new tensor that holds `values`."""
        buffer = self.store(values)
        return self.new_tensor(name, values.shape, getattr(self.schema.TensorType, values.dtype.name.upper()), buffer)

    def store(self, values: NDArray[Any]) -> int:
        """The number of a new buffer that holds `values`."""
        self.model.buffers.append(AlignedBuffer(np.ascontiguousarray(values).tobytes(), self.schema))
        return len(self.model.buffers) - 1

    def new_operator(self, kind: str, inputs: list[int], output: int, options: Any = None) -> Any:
        """An operator that is to be put somewhere in `operators`; `options` are the schema's for its kind."""
        code = int(getattr(self.schema.BuiltinOperator, kind))
        known = [entry.builtinCode for entry in self.model.operatorCodes]
        if code not in known:
            known.append(code)
            entry = self.schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1)
            self.model.operatorCodes.append(entry)
        operator = self.schema.OperatorT(opcodeIndex=known.index(code), inputs=inputs, outputs=[output])
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return operator

    def new_sum(self, first: int, second: int, output: int, activation: int = 0) -> Any:
        """An ADD with that activation fused, by the schema's number."""
        options = self.schema.AddOptionsT(fusedActivationFunction=activation)
        return self.new_operator("ADD", [first, second], output, options)

    def new_product(self, first: int, second: int, output: int) -> Any:
        """A MUL."""
        return self.new_operator("MUL", [first, second], output, self.schema.MulOptionsT())

    def new_six_h_swish(self, value: int, three: int, gate: int, output: int) -> list[Any]:
        """Six times h-swish, x · ReLU6(x + 3), by way of the tensor `gate`; `three` holds the 3."""
        relu6 = self.schema.ActivationFunctionType.RELU6
        return [self.new_sum(value, three, gate, relu6), self.new_product(value, gate, output)]

    def new_rows(
        self, inputs: list[int], output: int, rows: tuple[int, ...], padding: int, strides: tuple[int, int], times: int
    ) -> Any:
        """A depthwise convolution with those `rows` of a kernel, dilated as they lie; `times`: outputs a channel."""
        options = self.schema.DepthwiseConv2DOptionsT(
            padding=padding, strideH=strides[0], strideW=strides[1], depthMultiplier=times,
            dilationHFactor=row_dilation(rows),
        )  # fmt: skip
        return self.new_operator("DEPTHWISE_CONV_2D", inputs, output, options)


def padding_amounts(before: tuple[int, int], after: tuple[int, int]) -> NDArray[np.int32]:
    """What a PAD reads: rows and columns before and after an image, none of batch and channels."""
    return np.array([(0, 0), *zip(before, after, strict=True), (0, 0)], dtype=np.int32)
