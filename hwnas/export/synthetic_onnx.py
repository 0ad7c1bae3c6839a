"""Operator chains as ONNX files, node for node as `torch.onnx.export` writes the same network. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import MissingExtraError
from hwnas.export.chain import Affine, build_chain
from hwnas.files import write_bytes
from hwnas.spaces import Operator

__all__ = ["OPSET", "write"]

OPSET = 20
"""What torch's exporter targets without converting versions, and the newest that ONNX Runtime 1.20 takes."""

IR_VERSION = 10


def write(operators: Sequence[Operator], path: Path | str, seed: int = 0) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The file takes float32 `[1, C, H, W]` under the name `input` and gives `output`. The same operators and seed give
    the same bytes. Raises ValueError where the operators don't fit onto each other, MissingExtraError without onnx,
    StorageError where the file can't be written.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as cause:
        raise MissingExtraError("onnx", "onnxruntime", "writing ONNX files") from cause
    builder = _Builder()
    output = build_chain(operators, builder, "input", np.random.default_rng(seed))
    builder.nodes[-1].output[0] = "output" if output == builder.nodes[-1].output[0] else output
    first, last = operators[0], operators[-1]
    shape_in = [1, first.in_channels, first.in_height, first.in_width]
    shape_out = [1, last.out_channels, *([] if last.kind == "linear" else [last.out_height, last.out_width])]
    graph = helper.make_graph(
        builder.nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape_out)],
        builder.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="hwnas", opset_imports=opsets, ir_version=IR_VERSION)
    return write_bytes(path, model.SerializeToString())


class _Builder:
    """Appends nodes; implements `chain.GraphBuilder`."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._constants: dict[str, str] = {}

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        kernel = affine.weight.shape[2]
        inputs = [value, self._initializer(affine.weight)]
        if affine.bias is not None:
            inputs.append(self._initializer(affine.bias))
        output = self._node(
            "Conv",
            inputs,
            group=affine.weight.shape[0] if depthwise else 1,
            pads=[kernel // 2] * 4,
            auto_pad="NOTSET",
            strides=[stride, stride],
            dilations=[1, 1],
            kernel_shape=[kernel, kernel],
        )
        return self._activation(output, activation)

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        gate = self._node("HardSigmoid", [self.convolution(squeezed, expand)], alpha=1 / 6, beta=0.5)
        return self._node("Mul", [value, gate])

    def add(self, first: str, second: str, activation: str = "none") -> str:
        return self._activation(self._node("Add", [first, second]), activation)

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        window = {"pads": [kernel // 2] * 4, "strides": [stride, stride], "kernel_shape": [kernel, kernel]}
        return self._node(
            "MaxPool", [value], storage_order=0, dilations=[1, 1], ceil_mode=0, auto_pad="NOTSET", **window
        )

    def average_pool(self, value: str, stride: int) -> str:
        window = {"pads": [0] * 4, "strides": [stride, stride], "kernel_shape": [stride, stride]}
        return self._node("AveragePool", [value], count_include_pad=1, ceil_mode=1, auto_pad="NOTSET", **window)

    def pool(self, value: str, flat: bool = False) -> str:  # noqa: ARG002 (torch keeps the axes and reshapes)
        axes = self._constant("axes", np.array([2, 3], dtype=np.int64))
        return self._node("ReduceMean", [value, axes], keepdims=1, noop_with_empty_axes=0)

    def linear(self, value: str, affine: Affine) -> str:
        assert affine.bias is not None  # noqa: S101
        shape = self._constant("flat", np.array([1, affine.weight.shape[1]], dtype=np.int64))
        flat = self._node("Reshape", [value, shape], allowzero=1)
        inputs = [flat, self._initializer(affine.weight), self._initializer(affine.bias)]
        return self._node("Gemm", inputs, alpha=1.0, beta=1.0, transA=0, transB=1)

    def _activation(self, value: str, activation: str) -> str:
        if activation == "none":
            return value
        if activation == "relu6":
            low, high = (self._constant(f"limit{bound:.0f}", np.array(bound, dtype=np.float32)) for bound in (0.0, 6.0))
            return self._node("Clip", [value, low, high])
        return self._node({"relu": "Relu", "h_swish": "HardSwish"}[activation], [value])

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], f"node{len(self.nodes)}", **attributes))
        return output

    def _initializer(self, array: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"weight{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(array, name))
        return name

    def _constant(self, key: str, array: NDArray[Any]) -> str:
        if key not in self._constants:
            self._constants[key] = self._initializer(array)
        return self._constants[key]
