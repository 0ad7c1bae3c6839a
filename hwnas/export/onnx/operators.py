"""The operators of an ONNX file, with what rules ask about them."""

from __future__ import annotations

from pathlib import Path

from hwnas.export.node import Node

__all__ = ["read_operators"]

BORDERS = ("QuantizeLinear", "DequantizeLinear")


def read_operators(path: Path) -> list[Node]:
    """The operators of a file in the order in which they stand; `layer` is the node's name, or its output's.

    Nodes that quantise are left out, and a node between them counts as int8. Raises anything for a file that is no
    model.
    """
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
        if node.op_type in BORDERS:
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
