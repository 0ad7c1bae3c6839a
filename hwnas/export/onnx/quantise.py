"""ONNX graphs in int8, as QuantizeLinear/DequantizeLinear pairs around their nodes.

What is quantised, and how, is what ONNX Runtime runs fastest as measured (docs/quantisation.md). Exported networks and
the operators that latency tables are measured on go through the same function.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from hwnas.export.onnx.graph import WEIGHTED, constants_of, drop_unused, layers_of

__all__ = ["OPERATORS", "Ranges", "quantise"]

Ranges = Mapping[str, tuple[float, float]]
"""The smallest and the largest value of each of the graph's tensors, by its name."""

OPERATORS = (
    "Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "MaxPool",
    "AveragePool", "GlobalAveragePool", "Concat", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze",
)  # fmt: skip
"""All that ONNX Runtime has integer kernels for, elementwise ones too: a single operator left in float32 costs a
DequantizeLinear, a QuantizeLinear and often two transpositions, which is more than it saves."""

GATE_RANGE = (0.0, 1.0)


def quantise(
    model: Any,
    ranges: Ranges,
    float_layers: Collection[str] = (),
    only: Collection[str] | None = None,
    reduce_range: bool = False,
) -> Any:
    """An int8 copy of a float32 `model` (ModelProto, shapes inferred) whose tensors lie in `ranges`.

    Activations are uint8 (x86 has no kernels for int8 ones), weights int8 and symmetric with one scale an output
    channel, biases int32 (Jacob et al., CVPR 2018). Inputs and outputs stay float32. `float_layers` stay as they are;
    where `only` is given, all others do.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    layers = layers_of(model)
    chosen = [layer for layer in layers if layer not in float_layers and (only is None or layer in only)]
    prepared = type(model)()
    prepared.CopyFrom(model)
    known = _Prepared(prepared.graph, ranges, {node for layer in chosen for node in layers[layer]})
    known.split_h_swish()
    known.fold_h_sigmoid()
    add_infer_metadata(prepared)  # the quantiser would write the model to a file to infer shapes anew
    data = {name: tuple(np.array(bound, dtype=np.float32) for bound in span) for name, span in known.ranges.items()}
    quantiser = QDQQuantizer(
        prepared,
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, data),
        nodes_to_quantize=[],
        nodes_to_exclude=[node.name for node in prepared.graph.node if node.name not in known.chosen],
        op_types_to_quantize=list(OPERATORS),
        # The classifier's matrix product gives float32 at no cost: its scale is applied to int32 sums either way.
        extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
    )
    if known.chosen:
        quantiser.quantize_model()
    result = quantiser.model.model
    del result.metadata_props[:]
    result.metadata_props.extend(model.metadata_props)
    quantiser.model.topological_sort()  # the pairs were put at the end
    _integer_h_sigmoid(result.graph)
    _guard_float_weights(result.graph)
    drop_unused(result.graph)
    return result


class _Prepared:
    """A graph that is made ready for quantisation in place, with its tensors' ranges and the nodes that take part."""

    def __init__(self, graph: Any, ranges: Ranges, chosen: set[str]) -> None:
        self.graph, self.ranges, self.chosen = graph, dict(ranges), chosen
        self._shapes = {value.name: value for value in graph.value_info}

    def split_h_swish(self) -> None:
        """x · h-sigmoid(x) as two nodes, both of which have integer forms; h-swish as one has none."""
        from onnx import helper

        nodes = []
        for node in self.graph.node:
            if node.op_type != "HardSwish" or node.name not in self.chosen:
                nodes.append(node)
                continue
            value, gate, name = node.input[0], f"{node.output[0]}_gate", f"{node.name}/gate"
            nodes += [
                helper.make_node("HardSigmoid", [value], [gate], name, alpha=1 / 6, beta=0.5),
                helper.make_node("Mul", [value, gate], list(node.output), node.name),
            ]
            self._add(name, gate, like=value)
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def fold_h_sigmoid(self) -> None:
        """h-sigmoid(conv(x)) is the same convolution with other weights, cut off at 0 and 1, which int8 does for free.

        That is the gate of squeeze-and-excitation. h-swish needs its convolution's output a second time, so it keeps
        its own h-sigmoid.
        """
        from onnx import helper, numpy_helper

        constants = constants_of(self.graph)
        producers = {output: node for node in self.graph.node for output in node.output}
        readers = [name for node in self.graph.node for name in node.input]
        for node in self.graph.node:
            before = producers.get(node.input[0])
            if node.op_type != "HardSigmoid" or before is None or before.op_type != "Conv" or len(before.input) < 3:
                continue
            if readers.count(node.input[0]) > 1 or not {node.name, before.name} <= self.chosen:
                continue
            alpha, beta = _h_sigmoid_slope(node)
            for name, offset in ((before.input[1], 0.0), (before.input[2], beta)):
                scaled = numpy_helper.to_array(constants[name]).astype(np.float64) * alpha + offset
                constants[name].CopyFrom(numpy_helper.from_array(scaled.astype(np.float32), name))
            self.ranges[node.input[0]] = self.ranges[node.output[0]] = GATE_RANGE
            bounds = [self._scalar("gate_low", 0.0), self._scalar("gate_high", 1.0)]
            node.CopyFrom(helper.make_node("Clip", [node.input[0], *bounds], list(node.output), node.name))

    def _add(self, node: str, gate: str, like: str) -> None:
        self.chosen.add(node)
        self.ranges[gate] = GATE_RANGE
        shape = self.graph.value_info.add()
        shape.CopyFrom(self._shapes[like])
        shape.name = gate

    def _scalar(self, name: str, value: float) -> str:
        from onnx import numpy_helper

        if name not in constants_of(self.graph):
            self.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
        return name


def _h_sigmoid_slope(node: Any) -> tuple[float, float]:
    given = {attribute.name: attribute.f for attribute in node.attribute}
    return given.get("alpha", 0.2), given.get("beta", 0.5)  # ONNX's defaults


def _integer_h_sigmoid(graph: Any) -> None:
    """h-sigmoid between quantised tensors as an addition, which ONNX Runtime runs on integers.

    αx + β, cut off at 0 and 1: x's integers read with α times their scale, plus a constant, and the cut is the end of
    the uint8 range.
    """
    from onnx import helper, numpy_helper

    constants = constants_of(graph)
    producers = {output: node for node in graph.node for output in node.output}
    nodes: list[Any] = []
    for node in graph.node:
        before = producers.get(node.input[0])
        if node.op_type != "HardSigmoid" or before is None or before.op_type != "DequantizeLinear":
            nodes.append(node)
            continue
        alpha, beta = _h_sigmoid_slope(node)
        values, scale, zero = before.input
        scaled, offset = (f"{node.name}_{part}" for part in ("scaled", "offset"))
        steps = numpy_helper.to_array(constants[scale]) * np.float32(alpha)
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.asarray(steps, dtype=np.float32), f"{scaled}_scale"),
                numpy_helper.from_array(np.array(255, dtype=np.uint8), offset),
                numpy_helper.from_array(np.array(beta / 255, dtype=np.float32), f"{offset}_scale"),
                numpy_helper.from_array(np.array(0, dtype=np.uint8), f"{offset}_zero_point"),
            ]
        )
        reads = ([values, f"{scaled}_scale", zero], [offset, f"{offset}_scale", f"{offset}_zero_point"])
        floats = [f"{node.name}_{part}_float" for part in ("scaled", "offset")]
        nodes += [
            helper.make_node("DequantizeLinear", inputs, [output], output)
            for inputs, output in zip(reads, floats, strict=True)
        ]
        nodes.append(helper.make_node("Add", floats, list(node.output), node.name))
    read = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    del graph.node[:]
    graph.node.extend(node for node in nodes if set(node.output) & read)


def _guard_float_weights(graph: Any) -> None:
    """Keep ONNX Runtime from quantising what is meant to stay float.

    A convolution between a DequantizeLinear and a QuantizeLinear gets int8 weights with one scale for all of them as
    the file is loaded (seen in 1.31). A Clip to the range that the values lie in anyway breaks the pattern.
    """
    from onnx import helper, numpy_helper

    constants = constants_of(graph)
    producers = {output: node for node in graph.node for output in node.output}
    nodes: list[Any] = []
    for node in graph.node:
        before = producers.get(node.input[0])
        is_float = node.op_type in WEIGHTED and node.input[1] in constants
        if is_float and before is not None and before.op_type == "DequantizeLinear":
            scale, zero = (numpy_helper.to_array(constants[name]).astype(np.float32) for name in before.input[1:])
            bounds = [f"{node.name}/guard_{end}" for end in ("low", "high")]
            for name, integer in zip(bounds, (0, 255), strict=True):
                graph.initializer.append(numpy_helper.from_array(np.asarray((integer - zero) * scale), name))
            guarded = f"{node.name}/guarded"
            nodes.append(helper.make_node("Clip", [node.input[0], *bounds], [guarded], f"{node.name}/guard"))
            node.input[0] = guarded
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
