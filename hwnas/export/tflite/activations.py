"""Rewrites a float TFLite graph into operators for which XNNPACK has int8 kernels.

Its HARD_SWISH computes in float alone: one in an int8 file ends the delegate's part of the graph, and runs in a kernel
of LiteRT's own. ADD and MUL have int8 kernels. h-swish(x) = x · ReLU6(x + 3) / 6, so 6 h-swish(x) is an ADD with a
fused ReLU6 and a MUL; the 1/6 goes into the weights that read the value. The same frees squeeze-and-excitation of the
product with 1/6 in its h-sigmoid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.export.tflite.graph import TfliteGraph
from hwnas.export.tflite.operators import WEIGHTED

__all__ = ["lower_activations"]

# Operators whose output is k times as large where an input is.
_LINEAR = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "RESHAPE")


def lower_activations(content: bytes) -> bytes:
    """The same function as a graph without HARD_SWISH and without products with a positive scalar, where that can be.

    Tensors on the way may hold multiples of what they held before; inputs and outputs hold what they did.
    """
    graph = TfliteGraph(content)
    for operator in list(graph.operators):
        kind = graph.kind(operator)
        if kind == "HARD_SWISH":
            _split_hard_swish(graph, operator)
        elif kind == "MUL" and graph.activation(operator) == 0:
            _drop_product(graph, operator)
    return graph.packed()


def _split_hard_swish(graph: TfliteGraph, operator: Any) -> None:
    """x → ADD(x, 3) with ReLU6 → MUL with x, six times h-swish."""
    value, output = int(operator.inputs[0]), int(operator.outputs[0])
    gate = graph.add_tensor(f"{graph.name(output)};gate", output)
    graph.replace(operator, graph.new_six_h_swish(value, graph.add_scalar(3.0), gate, output))
    _undo_scale(graph, output, 6.0)


def _drop_product(graph: TfliteGraph, operator: Any) -> None:
    """Whatever reads a product with a positive scalar reads the first factor, and multiplies by the scalar itself."""
    value, output = int(operator.inputs[0]), int(operator.outputs[0])
    factor = graph.values(int(operator.inputs[1]))
    if factor is None or factor.size != 1 or factor.min() <= 0:
        return
    if graph.is_output(output) or graph.writer(value) is None:
        return
    readers = graph.readers(output)
    if any(reader is not operator for reader in graph.readers(value)):
        return  # others read the first factor as it is
    graph.replace(operator, [])
    for reader in readers:
        reader.inputs = [value if int(number) == output else int(number) for number in reader.inputs]
    _undo_scale(graph, value, 1 / factor.item())


def _undo_scale(graph: TfliteGraph, number: int, factor: float) -> None:
    """Let the readers of a tensor compute what they did, now that it is `factor` times what it was."""
    left = []
    for reader in graph.readers(number):
        kind, inputs = graph.kind(reader), [int(one) for one in reader.inputs]
        once = inputs.count(number) == 1
        weights = graph.values(inputs[1]) if kind in WEIGHTED and once and inputs[0] == number else None
        unfused = graph.activation(reader) == 0
        if weights is not None:
            reader.inputs = [inputs[0], graph.with_values(inputs[1], weights * np.float32(1 / factor)), *inputs[2:]]
        elif kind in _LINEAR and once and unfused and not graph.is_output(int(reader.outputs[0])):
            _undo_scale(graph, int(reader.outputs[0]), factor)
        else:
            left.append(reader)
    if left or graph.is_output(number):
        _divide_for(graph, number, factor, left)


def _divide_for(graph: TfliteGraph, number: int, factor: float, readers: list[Any]) -> None:
    """A product with 1 / factor, for readers that have no weights to hold it."""
    as_before = graph.add_tensor(f"{graph.name(number)};{len(graph.tensors)}", number)
    product = graph.new_product(number, graph.add_scalar(1 / factor), as_before)
    writer = graph.writer(number)
    graph.replace(writer, [writer, product])
    for reader in readers:
        reader.inputs = [as_before if int(one) == number else int(one) for one in reader.inputs]
    graph.give_back(as_before, instead_of=number)
