"""Operator chains compiled by TVM, from the same graph as the ONNX file: a shared library with a Relax executable.

What is compiled is TVM's default CPU pipeline without tuning.
"""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hwnas.errors import ConfigError, ExportError, MissingExtraError
from hwnas.export import synthetic_onnx
from hwnas.files import atomic_path
from hwnas.spaces import Operator

__all__ = ["host_target", "write"]


def write(
    operators: Sequence[Operator], path: Path | str, seed: int = 0, *, precision: str = "fp32", batch: int = 1,
    target: str | None = None,
) -> Path:  # fmt: skip
    """Compile the chain `operators` with random weights into a shared library, and return the path.

    `main` takes float32 `[batch, C, H, W]`. `target` is LLVM's triple and processor, such as
    `aarch64-linux-gnu cortex-a76`; None is this machine. Raises MissingExtraError without apache-tvm, ConfigError for
    another precision than fp32 or a target without a cross compiler here, ExportError where compiling fails.
    """
    if precision != "fp32":
        raise ConfigError(f"tvm runs no {precision} convolution from a quantised ONNX file: profiling.precision=fp32")
    if find_spec("tvm") is None:
        raise MissingExtraError("apache-tvm", "tvm", "compiling with TVM")
    options, link = _toolchain(target)
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder, atomic_path(path) as temporary:
        graph = synthetic_onnx.write(operators, Path(folder) / "chain.onnx", seed, batch=batch)
        module = from_onnx(onnx.load(graph), keep_params_in_input=False)
        library = Path(folder) / "chain.so"  # TVM goes by the suffix
        try:
            executable = relax.build(module, tvm.target.Target(options))
            executable.export_library(str(library), **({"fcompile": link} if link else {}))
        except Exception as cause:  # TVM's errors share no base but Exception
            reason = " ".join(str(cause).split())[:300]
            raise ExportError(f"tvm could not compile {operators[0]}: {reason or type(cause).__name__}") from cause
        shutil.copyfile(library, temporary)
    return Path(path)


def host_target() -> dict[str, str]:
    """TVM's target for the processor that this runs on."""
    from tvm.target import codegen

    return {"kind": "llvm", "mtriple": codegen.llvm_get_system_triple(), "mcpu": codegen.llvm_get_system_cpu()}


def _toolchain(target: str | None) -> tuple[dict[str, str], Callable[..., Any] | None]:
    """TVM's target, and what links a library for it (None: TVM's own choice)."""
    if target is None:
        return host_target(), None
    triple, _, processor = target.partition(" ")
    options = {"kind": "llvm", "mtriple": triple, **({"mcpu": processor.strip()} if processor.strip() else {})}
    if triple.split("-")[0] == platform.machine():
        return options, None
    compiler = shutil.which(f"{triple}-g++")
    if compiler is None:
        raise ConfigError(
            f"tvm_target {target!r} needs the cross compiler {triple}-g++ here (Debian: apt-get install"
            f" g++-{triple.replace('_', '-')})"
        )
    from tvm.support import cc

    return options, cc.cross_compiler(compiler)
