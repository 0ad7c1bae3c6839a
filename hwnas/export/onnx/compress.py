"""ONNX files with smaller weights: float16, or int8 that becomes float32 as the file is loaded."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.onnx.graph import WEIGHTED, constants_of, drop_unused, layers_of

__all__ = ["half_precision", "quantise_weights"]


def quantise_weights(model: Any, float_layers: Collection[str] = ()) -> Any:
    """A copy of `model` that stores the weights as int8, one scale an output channel, and computes in float32.

    Cast and Mul make floats of them, which ONNX Runtime does once, as it loads the file. (It keeps DequantizeLinear in
    the graph and would do it in every run; integer convolutions with ranges found on the fly are slower still.)
    """
    from onnx import TensorProto, helper, numpy_helper

    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    layers = layers_of(model)
    chosen = {node for layer, nodes in layers.items() if layer not in float_layers for node in nodes}
    constants = constants_of(graph)
    nodes, done = [], set()
    for node in graph.node:
        if node.op_type in WEIGHTED and node.name in chosen and node.input[1] in constants:
            name = node.input[1]
            if name not in done:
                done.add(name)
                values, scales = _int8(numpy_helper.to_array(constants[name]), _output_axis(node))
                graph.initializer.extend(
                    [numpy_helper.from_array(values, f"{name}_int8"), numpy_helper.from_array(scales, f"{name}_scale")]
                )
                nodes += [
                    helper.make_node("Cast", [f"{name}_int8"], [f"{name}_cast"], f"{name}/Cast", to=TensorProto.FLOAT),
                    helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [f"{name}_float"], f"{name}/Mul"),
                ]
            node.input[1] = f"{name}_float"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused(graph)
    return result


def _output_axis(node: Any) -> int:
    if node.op_type == "Gemm":
        return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
    return 0 if node.op_type == "Conv" else -1


def _int8(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """int8 values of `weight`, and their scales in a shape that multiplies onto them."""
    others = tuple(other for other in range(weight.ndim) if other != axis % weight.ndim)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scales = (np.maximum(largest, 1e-8) / 127).astype(np.float32)
    return np.rint(weight / scales).astype(np.int8), scales


def half_precision(model: Any, float_layers: Collection[str] = ()) -> Any:
    """A float16 copy of `model`, weights and arithmetic. Both ends, and what `float_layers` compute, are float32."""
    from onnxruntime.quantization.onnx_model import ONNXModel
    from onnxruntime.transformers.float16 import convert_float_to_float16

    result = type(model)()
    result.CopyFrom(model)
    layers = layers_of(model)
    kept = [node for layer in float_layers for node in layers[layer]]
    half = convert_float_to_float16(result, keep_io_types=True, disable_shape_infer=True, node_block_list=kept)
    del half.graph.value_info[:]  # the converter leaves some float32; they are inferred anew
    ONNXModel(half).topological_sort()  # and puts its casts at the end
    return half
