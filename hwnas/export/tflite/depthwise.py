"""Large depthwise convolutions of a TFLite graph as sums of ones for which XNNPACK has kernels.

XNNPACK's depthwise kernels hold up to 25 taps. A 7×7 convolution goes to a general one instead, which was seen to take
17 times a 5×5 one's time in float32, and 100 times in int8. Rows that lie symmetrically about the middle one are a
dilated convolution of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwnas.export.convolutions import row_groups, same_is_symmetric
from hwnas.export.tflite.graph import TfliteGraph
from hwnas.export.tflite.writing import padding_amounts

__all__ = ["split_depthwise"]


def split_depthwise(content: bytes) -> bytes:
    """The same function with depthwise convolutions of more than 25 taps as sums of ones that have fewer."""
    graph = TfliteGraph(content)
    for operator in list(graph.operators):
        if graph.kind(operator) == "DEPTHWISE_CONV_2D":
            _split_rows(graph, operator)
    return graph.packed()


def _split_rows(graph: TfliteGraph, operator: Any) -> None:
    """One depthwise convolution for each of `row_groups`, and their sum."""
    schema, options = graph.schema, operator.builtinOptions
    value, output = int(operator.inputs[0]), int(operator.outputs[0])
    weights = graph.values(int(operator.inputs[1]))
    if weights is None or weights.shape[1] != weights.shape[2] or len(operator.inputs) != 3:
        return
    kernel = weights.shape[1]
    padded = options.padding == schema.Padding.VALID
    if (options.dilationHFactor, options.dilationWFactor) != (1, 1) or not (groups := row_groups(kernel)):
        return
    source = _padded_source(graph, value, kernel // 2) if padded else value
    if source is None or (not padded and not _pads_evenly(graph, operator, kernel)):
        return
    name, bias, total = graph.name(output), int(operator.inputs[2]), -1
    parts: list[Any] = []
    for rows in groups:
        own = f"{name};rows{rows[0]}"
        read = value
        if padded and rows[0] > 0:
            read = _pad(graph, source, kernel // 2 - rows[0], kernel // 2, f"{own}/padded", parts)
        chosen = graph.add_constant(f"{own}/weights", weights[:, list(rows)])
        strides, times = (options.strideH, options.strideW), options.depthMultiplier
        inputs = [read, chosen, bias]
        part = graph.new_rows(inputs, graph.add_tensor(own, output), rows, options.padding, strides, times)
        parts.append(part)
        bias = graph.add_constant(f"{own}/zeros", np.zeros(weights.shape[3], dtype=np.float32))
        if rows is groups[0]:
            total = int(part.outputs[0])
            continue
        last = rows is groups[-1]
        added = output if last else graph.add_tensor(f"{name};sum{rows[0]}", output)
        parts.append(graph.new_sum(total, int(part.outputs[0]), added, graph.activation(operator) if last else 0))
        total = added
    graph.replace(operator, parts)


def _padded_source(graph: TfliteGraph, value: int, border: int) -> int | None:
    """What a PAD by `border` pixels on every side gives `value` from, or None."""
    writer = graph.writer(value)
    if writer is None or graph.kind(writer) != "PAD":
        return None
    amounts = graph.model.buffers[graph.tensors[int(writer.inputs[1])].buffer].data
    expected = padding_amounts((border, border), (border, border))
    known = amounts is not None and len(amounts) == expected.nbytes
    if not known or not np.array_equal(np.frombuffer(amounts, dtype=np.int32), expected.ravel()):
        return None
    return int(writer.inputs[0])


def _pads_evenly(graph: TfliteGraph, operator: Any, kernel: int) -> bool:
    _, height, width, _ = graph.tensors[int(operator.inputs[0])].shape
    options = operator.builtinOptions
    return same_is_symmetric(height, kernel, options.strideH) and same_is_symmetric(width, kernel, options.strideW)


def _pad(graph: TfliteGraph, value: int, rows: int, columns: int, name: str, operators: list[Any]) -> int:
    batch, height, width, channels = graph.tensors[value].shape
    padded = graph.add_tensor(name, value)
    graph.tensors[padded].shape = [batch, height + 2 * rows, width + 2 * columns, channels]
    amounts = padding_amounts((rows, columns), (rows, columns))
    constant = graph.add_constant(f"{name}/amounts", amounts)
    operators.append(graph.new_operator("PAD", [value, constant], padded, graph.schema.PadOptionsT()))
    return padded
