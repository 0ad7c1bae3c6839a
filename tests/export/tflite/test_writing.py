"""Graphs that are written from nothing: they are whole files, and compute what their parts say."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from hwnas.export.tflite.flatbuffer import attach_metadata, pack, read_metadata
from hwnas.export.tflite.operators import operator_names
from hwnas.export.tflite.writing import GraphWriter, padding_amounts
from tests.export.tflite.conftest import run

FLOAT = schema.TensorType.FLOAT32


def empty() -> GraphWriter:
    graph = schema.SubGraphT(name=b"main", tensors=[], operators=[])
    return GraphWriter(schema.ModelT(version=3, operatorCodes=[], subgraphs=[graph], buffers=[schema.BufferT()]))


def finished(graph: GraphWriter, given: int, output: int) -> bytes:
    graph.subgraph.inputs, graph.subgraph.outputs = [given], [output]
    return pack(graph.model)


def image(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) * 3


def test_six_h_swish_is_six_times_h_swish() -> None:
    graph, x = empty(), image(1, 4, 4, 2)
    value, gate, output = (graph.new_tensor(name, x.shape, FLOAT) for name in ("x", "gate", "y"))
    three = graph.add_constant("three", np.array(3, dtype=np.float32))
    graph.operators += graph.new_six_h_swish(value, three, gate, output)
    content = finished(graph, value, output)
    assert operator_names(content) == ["ADD", "MUL"]
    np.testing.assert_allclose(run(content, x), x * np.clip(x + 3, 0, 6), rtol=1e-6)


@pytest.mark.parametrize("rows", [(0, 3, 6), (1, 5), (3,)])
def test_rows_of_a_kernel_alone_are_the_kernel_with_zeros_elsewhere(rows: tuple[int, ...]) -> None:
    x, kernel = image(1, 13, 13, 2), image(1, 7, 7, 2)
    border = 3 - rows[0]
    padded = np.pad(x, ((0, 0), (border, border), (3, 3), (0, 0)))
    graph = empty()
    value, read, output = (
        graph.new_tensor(name, array.shape, FLOAT) for name, array in (("x", x), ("read", padded), ("y", x))
    )
    amounts = graph.add_constant("amounts", padding_amounts((border, 3), (border, 3)))
    graph.operators.append(graph.new_operator("PAD", [value, amounts], read, schema.PadOptionsT()))
    weights = graph.add_constant("weights", kernel[:, list(rows)])
    inputs = [read, weights, graph.add_constant("bias", np.zeros(2, dtype=np.float32))]
    graph.operators.append(graph.new_rows(inputs, output, rows, schema.Padding.VALID, (1, 1), 1))
    whole = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)))
    expected = sum(
        kernel[0, row, column] * whole[:, row : row + 13, column : column + 13] for row in rows for column in range(7)
    )
    np.testing.assert_allclose(run(finished(graph, value, output), x), expected, atol=1e-4)


def test_operators_of_a_kind_share_its_code() -> None:
    graph, x = empty(), image(1, 2)
    tensors = [graph.new_tensor(f"t{number}", x.shape, FLOAT) for number in range(4)]
    graph.operators += [
        graph.new_product(tensors[0], tensors[0], tensors[1]),
        graph.new_sum(tensors[1], tensors[0], tensors[2]),
        graph.new_product(tensors[2], tensors[0], tensors[3]),
    ]
    assert [entry.builtinCode for entry in graph.model.operatorCodes] == [
        schema.BuiltinOperator.MUL,
        schema.BuiltinOperator.ADD,
    ]
    np.testing.assert_allclose(run(finished(graph, tensors[0], tensors[3]), x), (x * x + x) * x, rtol=1e-6)


def test_metadata_is_replaced_by_its_name() -> None:
    graph = empty()
    value = graph.new_tensor("x", (1, 2), FLOAT)
    for entry in (b"first", b"second"):
        attach_metadata(graph.model, "said", entry)
    content = finished(graph, value, value)
    assert read_metadata(content, "said") == b"second"
    assert read_metadata(content, "unsaid") is None
