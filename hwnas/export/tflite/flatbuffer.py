"""Reading and writing TFLite flatbuffers with the generated schema, constants aligned as the schema asks."""

from __future__ import annotations

from typing import Any

__all__ = [
    "HALF_PRECISION",
    "AlignedBuffer",
    "add_metadata",
    "attach_metadata",
    "names_of",
    "pack",
    "read_metadata",
    "unpack",
]

ALIGNMENT = 16
IDENTIFIER = b"TFL3"
# Metadata that let XNNPACK compute in float16 where the processor can (ARMv8.2). Key and value as LiteRT's
# tflite/tools/optimize/reduced_precision_support.h has them.
HALF_PRECISION = ("reduced_precision_support", b"fp16accfp16")


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
    model = unpack(content)
    attach_metadata(model, name, value)
    return pack(model)


def attach_metadata(model: Any, name: str, value: bytes) -> None:
    """Add or replace the metadata entry `name` of a `ModelT`."""
    from ai_edge_litert import schema_py_generated as schema

    entries = [entry for entry in model.metadata or [] if entry.name != name.encode()]
    model.buffers.append(AlignedBuffer(value, schema))
    model.metadata = [*entries, schema.MetadataT(name=name.encode(), buffer=len(model.buffers) - 1)]


def read_metadata(content: bytes, name: str) -> bytes | None:
    """The metadata entry `name` of a file's bytes, or None."""
    model = unpack(content)
    for entry in model.metadata or []:
        if entry.name == name.encode():
            return bytes(model.buffers[entry.buffer].data)
    return None


def names_of(numbers: Any) -> dict[int, str]:
    """TFLite's names of an enumeration of the schema's, by their numbers."""
    return {number: name for name, number in vars(numbers).items() if isinstance(number, int)}
