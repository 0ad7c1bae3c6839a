"""TVM's CPU code generator, fed from the ONNX file."""

from __future__ import annotations

from hwnas.export.preflight.rules import FLOATS, Delegate

__all__ = ["DELEGATE"]

DELEGATE = Delegate(
    name="tvm",
    title="TVM",
    runtime="tvm",
    cpu=True,
    sources=(
        # Relax's importer turns a quantised Conv into no integer one (seen with 0.26); float ones it compiles.
        "https://github.com/apache/tvm/blob/main/python/tvm/relax/frontend/onnx/onnx_frontend.py",
    ),
    types=FLOATS | {"float16"},
    operators={},
    any_operator=True,
)
