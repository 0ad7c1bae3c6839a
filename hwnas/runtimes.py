"""The runtimes that model files are measured in and the precisions of files: the lists that all others are parts of."""

from __future__ import annotations

__all__ = ["FILE_PRECISIONS", "PRECISIONS", "PRECISIONS_OF_RUNTIME", "RUNTIMES"]

# TVM's importer runs a quantised ONNX file in float32: there is nothing to measure.
PRECISIONS_OF_RUNTIME = {
    "onnxruntime": ("fp32", "fp16", "int8"),
    "litert": ("fp32", "fp16", "int8"),
    "tvm": ("fp32",),
    "executorch": ("fp32", "int8"),
}
RUNTIMES = tuple(PRECISIONS_OF_RUNTIME)
PRECISIONS = ("fp32", "fp16", "int8")
"""Those that latency is measured in."""

FILE_PRECISIONS = (*PRECISIONS, "int8_dynamic")
"""Those that files are written in."""
