"""Reading and writing TFLite flatbuffers with the generated schema, constants aligned as the schema asks."""

from __future__ import annotations

from typing import Any

__all__ = ["AlignedBuffer", "add_metadata", "operator_names", "pack", "read_metadata", "unpack"]

ALIGNMENT = 16
IDENTIFIER = b"TFL3"


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
    """The `ModelT` of a file's bytes, its constants as `AlignedBuffer`."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.buffers = [
        buffer if buffer.data is None else AlignedBuffer(bytes(buffer.data), schema) for buffer in model.buffers
    ]
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
