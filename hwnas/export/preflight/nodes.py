"""The operators of a space's networks as the exporters write them, named by slot."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from hwnas.export.convolutions import row_dilation, row_groups, same_is_symmetric
from hwnas.export.formats import format_of_runtime
from hwnas.export.node import Node
from hwnas.export.preflight.files import nodes_of_file
from hwnas.export.synthetic.chain import build_chain
from hwnas.export.synthetic.registry import synthetic_writer
from hwnas.operators import Operator
from hwnas.operators.graph import Affine

__all__ = ["nodes_of"]

Shape = tuple[int, int, int]

# Types of values and of weights, by precision.
TYPES = {
    "fp32": ("float32", "float32"),
    "fp16": ("float32", "float16"),
    "int8": ("int8", "int8"),
    "int8_dynamic": ("float32", "int8"),
}


def nodes_of(layers: Iterable[tuple[str, Operator]], runtime: str, precision: str) -> list[Node]:
    """What each operator becomes in the runtime's file, in order; `layers` are slots and the operators in them.

    Of a kind without a fast writer the file is written, and read again.
    """
    recorder = _RECORDERS[runtime]
    found: list[Node] = []
    for layer, operator in layers:
        if not operator.has_fast_writer():
            found += _of_file(layer, operator, runtime, precision)
            continue
        builder = recorder(layer, precision)
        build_chain(
            [operator], builder, builder.value((operator.in_height, operator.in_width, operator.in_channels)), None
        )
        found += builder.nodes
    return found


def _of_file(layer: str, operator: Operator, runtime: str, precision: str) -> list[Node]:
    chosen = format_of_runtime(runtime if runtime in _READ else "onnxruntime")
    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        path = synthetic_writer(chosen.name)([operator], Path(folder) / f"operator{chosen.suffix}", precision=precision)
        return [replace(node, layer=layer) for node in nodes_of_file(path)]


class _Recorder:
    """Keeps the nodes, and the shapes `(height, width, channels)` of values. Implements `GraphBuilder`."""

    def __init__(self, layer: str, precision: str) -> None:
        self.nodes: list[Node] = []
        self._layer = layer
        self._int8 = precision == "int8"
        self._type, self._weights = TYPES[precision]
        self._shapes: list[Shape] = []

    def value(self, shape: Shape) -> str:
        """A new value of that shape."""
        self._shapes.append(shape)
        return str(len(self._shapes) - 1)

    def _shape(self, value: str) -> Shape:
        return self._shapes[int(value)]

    def _append(
        self, operator: str, *, weights: str = "", activation: str = "NONE", rank: int = 4, dilation: int = 1
    ) -> None:
        self.nodes.append(
            Node(self._layer, operator, self._type, weights, rank, activation=activation, dilation=dilation)
        )


class _Litert(_Recorder):
    """As `synthetic_tflite` says that litert-torch writes them, and `quantise_tflite` after it."""

    def convolution(
        self, value: str, affine: Affine, *, stride: int = 1, depthwise: bool = False, activation: str = "none"
    ) -> str:
        height, width, channels = self._shape(value)
        out, kernel = affine.weight.shape[0], affine.weight.shape[2]
        padded = not (same_is_symmetric(height, kernel, stride) and same_is_symmetric(width, kernel, stride))
        depthwise = depthwise or channels == 1
        groups = row_groups(kernel) if depthwise else []
        # XNNPACK has no kernel for float32 values and int8 weights of a depthwise convolution: these stay float32.
        weights = "float32" if depthwise and self._weights == "int8" and not self._int8 else self._weights
        fused = {"relu": "RELU", "relu6": "RELU6"}.get(activation, "NONE")
        for number in range(max(len(groups), 1)):
            if kernel > 1 and padded:
                self._append("PAD")
            last = number == len(groups) - 1
            self._append(
                "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
                weights=weights,
                activation="NONE" if groups else fused,
                dilation=row_dilation(groups[number]) if groups else 1,
            )
            if number:
                self._append("ADD", activation=fused if last else "NONE")
        if activation == "h_swish":
            self._hard_swish()
        return self.value(((height - 1) // stride + 1, (width - 1) // stride + 1, out))

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        squeezed = self.convolution(self.pool(value), reduce, activation="relu")
        self.convolution(squeezed, expand, activation="relu6")
        for _ in range(1 if self._int8 else 2):
            self._append("MUL")
        return value

    def add(self, first: str, second: str, activation: str = "none") -> str:  # noqa: ARG002
        self._append("ADD", activation={"relu": "RELU", "relu6": "RELU6"}.get(activation, "NONE"))
        return first

    def max_pool(self, value: str, kernel: int, stride: int) -> str:
        height, width, channels = self._shape(value)
        if not (same_is_symmetric(height, kernel, stride) and same_is_symmetric(width, kernel, stride)):
            self._append("PADV2")
        self._append("MAX_POOL_2D")
        return self.value(((height - 1) // stride + 1, (width - 1) // stride + 1, channels))

    def average_pool(self, value: str, stride: int) -> str:
        height, width, channels = self._shape(value)
        partial = height % stride or width % stride
        for operator in ("PAD", "AVERAGE_POOL_2D", "MUL") if partial else ("AVERAGE_POOL_2D",):
            self._append(operator)
        return self.value((-(-height // stride), -(-width // stride), channels))

    def pool(self, value: str, flat: bool = False) -> str:  # noqa: ARG002
        height, width, channels = self._shape(value)
        if (height, width) != (1, 1):
            self._append("MEAN")
        return self.value((1, 1, channels))

    def linear(self, value: str, affine: Affine) -> str:  # noqa: ARG002
        self._append("FULLY_CONNECTED", weights=self._weights, rank=2)
        return self.value((1, 1, affine.weight.shape[0]))

    def _hard_swish(self) -> None:
        if self._int8:
            self._append("ADD", activation="RELU6")
            self._append("MUL")
        else:
            self._append("HARD_SWISH")


class _Onnx(_Recorder):
    """As `synthetic_onnx` writes them, and `quantise_onnx` after it, without what quantises at the file's ends.

    h-swish in int8 stands as itself: it is an addition and a multiplication there.
    """

    def convolution(
        self,
        value: str,
        affine: Affine,
        *,
        stride: int = 1,
        depthwise: bool = False,  # noqa: ARG002
        activation: str = "none",
    ) -> str:
        height, width, _ = self._shape(value)
        self._append("Conv", weights=self._weights)
        self._activation(activation)
        return self.value(((height - 1) // stride + 1, (width - 1) // stride + 1, affine.weight.shape[0]))

    def squeeze_excite(self, value: str, reduce: Affine, expand: Affine) -> str:
        self.convolution(self.convolution(self.pool(value), reduce, activation="relu"), expand)
        if not self._int8:  # there the gate is in the convolution's weights
            self._append("HardSigmoid")
        self._append("Mul")
        return value

    def add(self, first: str, second: str, activation: str = "none") -> str:  # noqa: ARG002
        self._append("Add")
        self._activation(activation)
        return first

    def max_pool(self, value: str, kernel: int, stride: int) -> str:  # noqa: ARG002
        height, width, channels = self._shape(value)
        self._append("MaxPool")
        return self.value(((height - 1) // stride + 1, (width - 1) // stride + 1, channels))

    def average_pool(self, value: str, stride: int) -> str:
        height, width, channels = self._shape(value)
        self._append("AveragePool")
        return self.value((-(-height // stride), -(-width // stride), channels))

    def pool(self, value: str, flat: bool = False) -> str:  # noqa: ARG002
        self._append("GlobalAveragePool")
        return self.value((1, 1, self._shape(value)[2]))

    def linear(self, value: str, affine: Affine) -> str:  # noqa: ARG002
        self._append("Reshape")
        self._append("Gemm", weights=self._weights, rank=2)
        return self.value((1, 1, affine.weight.shape[0]))

    def _activation(self, activation: str) -> None:
        if activation != "none":
            self._append({"relu": "Relu", "relu6": "Clip", "h_swish": "HardSwish"}[activation])


_RECORDERS: dict[str, type[_Litert] | type[_Onnx]] = {"onnxruntime": _Onnx, "litert": _Litert, "tvm": _Onnx}
"""By the runtimes that there are delegates of; TVM is fed from the ONNX file."""

_READ = ("onnxruntime", "litert")
"""Runtimes whose files hold operators by name."""
