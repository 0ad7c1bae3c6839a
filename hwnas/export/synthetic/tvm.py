"""Operator chains compiled by TVM, from the same graph as the ONNX file: a shared library with a Relax executable.

What is compiled is what the exporter compiles of the same network, without tuning.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from hwnas.errors import ConfigError, ExportError, MissingExtraError
from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.tvm.build import compile_library, fuse_operators, schedule_functions, toolchain
from hwnas.files import write_bytes
from hwnas.operators import Operator

__all__ = ["write"]


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1,
    target: str | None = None,
) -> Path:  # fmt: skip
    """Compile the chain `operators` with random weights into a shared library, and return the path.

    `main` takes float32 `[batch, C, H, W]`. `target` is LLVM's triple and processor, such as
    `aarch64-linux-gnu cortex-a76`; None is this machine. Raises MissingExtraError without apache-tvm, ConfigError for
    another precision than fp32 or a target that can't be compiled for here, ExportError where compiling fails.
    """
    if precision != "fp32":
        raise ConfigError(f"tvm runs no {precision} convolution from a quantised ONNX file: profiling.precision=fp32")
    if find_spec("tvm") is None:
        raise MissingExtraError("apache-tvm", "tvm", "compiling with TVM")
    tools = toolchain(target)
    import onnx
    from tvm.relax.frontend.onnx import from_onnx

    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        graph = onnx.load(synthetic_onnx.write(operators, Path(folder) / "chain.onnx", seed, batch=batch))
    try:
        module = fuse_operators(from_onnx(graph, keep_params_in_input=False), tools)
        content = compile_library(schedule_functions(module, tools), tools)
    except Exception as cause:  # TVM's errors share no base but Exception
        reason = " ".join(str(cause).split())[:300]
        raise ExportError(f"tvm could not compile {operators[0]}: {reason or type(cause).__name__}") from cause
    return write_bytes(path, content)
