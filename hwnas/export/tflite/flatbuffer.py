"""Reading and writing TFLite flatbuffers with the generated schema, constants aligned as the schema asks."""

from __future__ import annotations

from typing import Any

__all__ = [
    "HALF_PRECISION",
    "AlignedBuffer",
    "add_metadata",
    "layer_of",
    "operator_layers",
    "operator_names",
    "operator_scopes",
    "output_types",
    "pack",
    "read_metadata",
    "unpack",
    "value_names",
]

ALIGNMENT = 16
IDENTIFIER = b"TFL3"
# Metadata that let XNNPACK compute in float16 where the processor can (ARMv8.2). Key and value as LiteRT's
# tflite/tools/optimize/reduced_precision_support.h has them.
HALF_PRECISION = ("reduced_precision_support", b"fp16accfp16")
WRAPPED = "wrapped"  # what litert-torch's channels-last wrapper calls the network


class AlignedBuffer:
    """Stands in for the schema's `BufferT`, whose generated code drops `force_align: 16`.

    Kernels may read constants with aligned loads.
    """

    def __init__(self, data: bytes, schema: Any) -> None:
        self.data = data
        self._schema = schema

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated code's name
        """Append to a `flatbuffers.Builder` and return the offset."""
        length = len(self.data)
        builder.StartVector(1, length, ALIGNMENT)
        builder.head = builder.Head() - length
        builder.Bytes[builder.Head() : builder.Head() + length] = self.data
        vector = builder.EndVector()
        self._schema.BufferStart(builder)
        self._schema.BufferAddData(builder, vector)
        return int(self._schema.BufferEnd(builder))


def pack(model: Any) -> bytes:
    """The bytes of a `ModelT`."""
    import flatbuffers

    # Large enough from the start: the builder doubles and copies when it runs out.
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(size + 64 * len(model.buffers) + (1 << 16))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def unpack(content: bytes) -> Any:
    """The `ModelT` of a file's bytes, its constants as `AlignedBuffer`, those that lie behind the flatbuffer too."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for place, buffer in enumerate(model.buffers):
        if buffer.offset > 1:  # 0 and 1 mean that there is no such place
            model.buffers[place] = AlignedBuffer(content[buffer.offset : buffer.offset + buffer.size], schema)
        elif buffer.data is not None:
            model.buffers[place] = AlignedBuffer(bytes(buffer.data), schema)
    return model


def add_metadata(content: bytes, name: str, value: bytes) -> bytes:
    """The same model with the metadata entry `name` added or replaced."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    entries = [entry for entry in model.metadata or [] if entry.name != name.encode()]
    model.buffers.append(AlignedBuffer(value, schema))
    model.metadata = [*entries, schema.MetadataT(name=name.encode(), buffer=len(model.buffers) - 1)]
    return pack(model)


def read_metadata(content: bytes, name: str) -> bytes | None:
    """The metadata entry `name` of a file's bytes, or None."""
    model = unpack(content)
    for entry in model.metadata or []:
        if entry.name == name.encode():
            return bytes(model.buffers[entry.buffer].data)
    return None


def operator_names(content: bytes) -> list[str]:
    """The operators of the first subgraph in the order in which they run, by TFLite's names."""
    from ai_edge_litert import schema_py_generated as schema

    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
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

    names = {number: name for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
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
