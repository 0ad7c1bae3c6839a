"""What the operators of a TFLite file are called, and what rules ask about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.export.node import Node
from hwnas.export.tflite.flatbuffer import names_of

__all__ = [
    "BORDERS",
    "WEIGHTED",
    "layer_of",
    "operator_layers",
    "operator_names",
    "operator_scopes",
    "output_types",
    "read_operators",
    "value_names",
]

BORDERS = ("QUANTIZE", "DEQUANTIZE")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators whose second input holds weights."""

WRAPPED = "wrapped"  # what litert-torch's channels-last wrapper calls the network


def read_operators(path: Path) -> list[Node]:
    """The operators of a file in the order in which they run; `layer` is the output's name.

    A QUANTIZE or DEQUANTIZE counts as of its quantised side's type. Raises anything for a file that is no model.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    kinds = (schema.BuiltinOperator, schema.TensorType, schema.ActivationFunctionType)
    operators, types, activations = map(names_of, kinds)
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


def operator_names(content: bytes) -> list[str]:
    """The operators of the first subgraph in the order in which they run, by TFLite's names."""
    from ai_edge_litert import schema_py_generated as schema

    names = names_of(schema.BuiltinOperator)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    return [names[model.operatorCodes[entry.opcodeIndex].builtinCode] for entry in model.subgraphs[0].operators]


def operator_scopes(content: bytes) -> list[str]:
    """What ai-edge-quantizer matches with an operator's recipes: the names of its outputs, each with a `;`."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    return ["".join(f"{graph.tensors[number].name.decode()};" for number in entry.outputs) for entry in graph.operators]


def operator_layers(content: bytes) -> list[str]:
    """The layer of each operator: see `layer_of`. One without a module's name is told by its weights, or its output."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    found = []
    for entry in graph.operators:
        names = [graph.tensors[number].name.decode() for number in (*entry.outputs, *entry.inputs[1:]) if number >= 0]
        layers = [layer_of(name) for name in names]
        found.append(next((layer for layer, name in zip(layers, names, strict=True) if layer != name), names[0]))
    return found


def output_types(content: bytes) -> list[str]:
    """The type of each operator's output, by TFLite's names, such as `INT8`."""
    from ai_edge_litert import schema_py_generated as schema

    names = names_of(schema.TensorType)
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    return [names[graph.tensors[entry.outputs[0]].type] for entry in graph.operators]


def value_names(content: bytes) -> dict[int, str]:
    """The names of the input's and of every operator's output tensors, by their number."""
    from ai_edge_litert import schema_py_generated as schema

    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    numbers = [*graph.inputs, *(number for entry in graph.operators for number in entry.outputs)]
    return {int(number): graph.tensors[number].name.decode() for number in numbers}


def layer_of(tensor: str) -> str:
    """The torch module behind a tensor of litert-torch's, by its path from the network on, such as `block3.depthwise`.

    torch's own modules count as their parent's (`stem.conv` is `stem`), unless that is the network. A tensor that is
    named otherwise keeps its name.
    """
    # Class_attribute/Class_attribute;number, one after the other with ;; where operators were fused.
    parts = [part for part in tensor.split(";;") if "/" in part]
    if not parts:
        return tensor
    path: list[str] = []
    for step in parts[0].split(";")[0].split("/"):
        attribute = step.rpartition(".")[2].partition("_")[2]
        if attribute and attribute != WRAPPED and not (path and step.startswith("torch.nn.")):
            path.append(attribute)
    return ".".join(path) or tensor
