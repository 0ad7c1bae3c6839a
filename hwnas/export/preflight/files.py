"""The operators of an exported file, with the types and sizes that rules ask about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, ExportError, MissingExtraError, choices
from hwnas.export.preflight.rules import Node

__all__ = ["nodes_of_file"]

BORDERS = ("QUANTIZE", "DEQUANTIZE")
ONNX_BORDERS = ("QuantizeLinear", "DequantizeLinear")


def nodes_of_file(path: Path) -> list[Node]:
    """The operators of a TFLite or ONNX file in the order in which they stand; `layer` is the output's name.

    A TFLite QUANTIZE or DEQUANTIZE counts as of its quantised side's type; in an ONNX file they are left out, and a
    node between them counts as int8. Raises ConfigError for another suffix, ExportError for a file that is missing or
    no model, MissingExtraError without the package that reads it.
    """
    readers = {".tflite": _tflite, ".onnx": _onnx}
    if path.suffix not in readers:
        raise ConfigError(f"no preflight for {path}: {choices(path.suffix, readers)}")
    if not path.is_file():
        raise ExportError(f"no such file: {path}; export it first")
    try:
        return readers[path.suffix](path)
    except ImportError as cause:
        package, extra = ("ai-edge-litert", "litert") if path.suffix == ".tflite" else ("onnx", "onnxruntime")
        raise MissingExtraError(package, extra, "reading exported files") from cause
    except Exception as cause:  # both parsers raise anything for bytes that are no model
        raise ExportError(f"{path} can't be read as a model ({type(cause).__name__}); export it again") from cause


def _tflite(path: Path) -> list[Node]:
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


def _onnx(path: Path) -> list[Node]:
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    # Rules are about widths: ONNX Runtime takes either kind of 8 bits.
    names = {number: {"float": "float32", "uint8": "int8"}.get(name, name) for number, name in names.items()}
    types = {tensor.name: names[tensor.data_type] for tensor in graph.initializer}
    shapes: dict[str, list[int]] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = names[value.type.tensor_type.elem_type]
        shapes[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]
    constants = {tensor.name for tensor in graph.initializer}
    dequantised = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            dequantised[node.output[0]] = types.get(node.input[0], "int8")
            if node.input[0] in constants:
                constants.add(node.output[0])
    found = []
    for node in graph.node:
        if node.op_type in ONNX_BORDERS:
            continue
        kinds = {name: dequantised.get(name, types.get(name, "float32")) for name in node.input if name}
        values = [name for name in kinds if name not in constants] or list(kinds)
        weights = [kinds[name] for name in kinds if name in constants and kinds[name] not in ("int32", "int64")]
        shape = shapes.get(values[0], []) if values else []
        found.append(
            Node(
                layer=node.name or (node.output[0] if node.output else ""),
                operator=node.op_type,
                type=kinds[values[0]] if values else "float32",
                weights=weights[0] if weights else "",
                rank=len(shape),
                batch=shape[0] if shape else 1,
            )
        )
    return found
