"""Operator chains as ONNX files, node for node as `hwnas.export.onnx.format` writes the same network. No torch.

In int8 and fp16 they go through the same converters as exported networks, with plausible ranges in place of calibrated
ones. Both ends are float32, as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import MissingExtraError
from hwnas.export.onnx.graph import OPSET
from hwnas.export.quiet import quiet
from hwnas.export.synthetic.chain import build_chain
from hwnas.export.synthetic.int8 import ACTIVATION_RANGES, GATE, SIGNED, Range
from hwnas.files import write_bytes
from hwnas.operators import Operator
from hwnas.operators.graph import Affine

__all__ = ["write"]

IR_VERSION = 10

_KEEPS_RANGE = ("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Mul")  # Mul: by a gate
_RANGES = {
    "HardSigmoid": GATE,
    "HardSwish": ACTIVATION_RANGES["h_swish"],
    "Relu": ACTIVATION_RANGES["relu"],
    "Clip": ACTIVATION_RANGES["relu6"],
}


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1
) -> Path:
    """Write the chain `operators` with random weights and return the path.

    The file takes float32 `[batch, C, H, W]` under the name `input` and gives `output`. The same arguments
    give the same bytes. Raises ValueError where the operators don't fit onto each other, MissingExtraError without
    onnx, StorageError where the file can't be written.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError as cause:
        raise MissingExtraError("onnx", "onnxruntime", "writing ONNX files") from cause
    builder = _Builder(batch)
    output = build_chain(operators, builder, "input", np.random.default_rng(seed))
    builder.nodes[-1].output[0] = "output" if output == builder.nodes[-1].output[0] else output
    first, last = operators[0], operators[-1]
    shape_in = [batch, first.in_channels, first.in_height, first.in_width]
    shape_out = [batch, last.out_channels, *([] if last.takes_flat else [last.out_height, last.out_width])]
    graph = helper.make_graph(
        builder.nodes,
        "chain",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape_out)],
        builder.initializers,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="hwnas", opset_imports=opsets, ir_version=IR_VERSION)
    if precision != "fp32":
        model = _converted(model, precision)
    return write_bytes(path, model.SerializeToString(deterministic=True))


def _converted(model: Any, precision: str) -> Any:
    from onnx.shape_inference import infer_shapes

    from hwnas.export.onnx.compress import half_precision
    from hwnas.export.onnx.quantise import quantise

    inferred = infer_shapes(model)
    with quiet("ONNX Runtime's converters"):
        return half_precision(inferred) if precision == "fp16" else quantise(inferred, _ranges(model.graph))


def _ranges(graph: Any) -> dict[str, tuple[float, float]]:
    """Plausible ranges of every value: chains keep activations near a standard deviation of 1."""
    spans: dict[str, Range] = {"input": SIGNED}
    for node in graph.node:
        keeps = node.op_type in _KEEPS_RANGE
        spans[node.output[0]] = spans[node.input[0]] if keeps else _RANGES.get(node.op_type, SIGNED)
    return {name: (span.low, span.high) for name, span in spans.items()}


class _Builder:
    """Appends nodes; implements `GraphBuilder`."""

    def __init__(self, batch: int) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._batch = batch
        self._constants: dict[str, str] = {}

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        kernel = affine.weight.shape[2]
        output = self._node(
            "Conv",
            [value, *self._weights(affine)],
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
        return self._node("GlobalAveragePool", [value])

    def linear(self, value: str, affine: Affine) -> str:
        shape = self._constant("flat", np.array([self._batch, affine.weight.shape[1]], dtype=np.int64))
        flat = self._node("Reshape", [value, shape], allowzero=1)
        return self._node("Gemm", [flat, *self._weights(affine)], alpha=1.0, beta=1.0, transA=0, transB=1)

    def _activation(self, value: str, activation: str) -> str:
        if activation == "none":
            return value
        if activation == "relu6":
            low, high = (self._constant(f"limit{bound:.0f}", np.array(bound, dtype=np.float32)) for bound in (0.0, 6.0))
            return self._node("Clip", [value, low, high])
        return self._node({"relu": "Relu", "h_swish": "HardSwish"}[activation], [value])

    def _weights(self, affine: Affine) -> list[str]:
        return [self._initializer(array) for array in (affine.weight, affine.bias) if array is not None]

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
