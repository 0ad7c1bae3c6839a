"""What the operators of a TFLite file are called, and what rules ask about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.export.node import Node

__all__ = ["read_operators"]

BORDERS = ("QUANTIZE", "DEQUANTIZE")


def read_operators(path: Path) -> list[Node]:
    """The operators of a file in the order in which they run; `layer` is the output's name.

    A QUANTIZE or DEQUANTIZE counts as of its quantised side's type. Raises anything for a file that is no model.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    operators, types, activations = (
        {number: name for name, number in vars(kind).items() if isinstance(number, int)}
        for kind in (schema.BuiltinOperator, schema.TensorType, schema.ActivationFunctionType)
    )
    graph = model.subgraphs[0]

    def constant(number: int) -> bool:
        buffer = model.buffers[graph.tensors[number].buffer]
        return buffer.data is not None or buffer.offset > 1  # the latter lies behind the flatbuffer

    found = []
    for entry in graph.operators:
        name = operators[model.operatorCodes[entry.opcodeIndex].builtinCode]
        inputs = [number for number in entry.inputs if number >= 0]
        values = [number for number in inputs if not constant(number)] or inputs
        weights = [number for number in inputs[1:] if constant(number)]
        outputs = [graph.tensors[number] for number in entry.outputs]
        first, options = graph.tensors[values[0]], entry.builtinOptions
        signature = first.shapeSignature
        typed = outputs[0] if name == "QUANTIZE" else first
        found.append(
            Node(
                layer=outputs[0].name.decode(errors="replace"),
                operator=name,
                type=types[typed.type].lower(),
                weights=_weights_type(graph, weights, types) if name not in BORDERS else "",
                rank=max(len(tensor.shape) for tensor in (first, *outputs)),
                batch=int(signature[0]) if signature is not None and signature[0] >= 0
                else 0 if signature is not None else int(first.shape[0]),
                activation=activations[getattr(options, "fusedActivationFunction", 0)],
                dilation=max(getattr(options, f"dilation{axis}Factor", 1) for axis in "HW"),
            )
        )  # fmt: skip
    return found


def _weights_type(graph: Any, numbers: list[int], types: dict[int, str]) -> str:
    """Of the first constant that is no list of sizes or axes."""
    kinds = (types[graph.tensors[number].type].lower() for number in numbers)
    return next((kind for kind in kinds if kind not in ("int32", "int64")), "")
