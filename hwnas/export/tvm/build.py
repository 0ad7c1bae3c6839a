"""Relax modules compiled by TVM into shared libraries: the one pipeline of the exporter and of the latency tables."""

from __future__ import annotations

import math
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError
from hwnas.export.tvm.schedule import Tile, VectorUnit, schedule

__all__ = ["Toolchain", "compile_library", "fuse_operators", "host_target", "schedule_functions", "toolchain"]


@dataclass(frozen=True)
class Toolchain:
    """TVM's target, what links a library for it (None: TVM's own choice), and the processor's vector unit."""

    target: Any
    link: Callable[..., Any] | None
    unit: VectorUnit


def host_target() -> dict[str, str]:
    """TVM's target for the processor that this runs on."""
    from tvm.target import codegen

    return {"kind": "llvm", "mtriple": codegen.llvm_get_system_triple(), "mcpu": codegen.llvm_get_system_cpu()}


def toolchain(target: str | None) -> Toolchain:
    """What compiles for `target`, LLVM's triple and processor (`aarch64-linux-gnu cortex-a76`); None: this machine.

    Raises ConfigError for one that LLVM does not know or that lacks its cross compiler here.
    """
    options, link = _options(target)
    import tvm
    from tvm.target import codegen

    made = tvm.target.Target(options)
    bits = int(codegen.llvm_get_vector_width(made))
    x86 = options["mtriple"].startswith(("x86_64", "i686"))
    return Toolchain(made, link, VectorUnit(max(bits // 32, 1), 16 if x86 and bits < 512 else 32))


def _options(target: str | None) -> tuple[dict[str, str], Callable[..., Any] | None]:
    if target is None:
        return host_target(), None
    from tvm.support import cc
    from tvm.target import codegen

    triple, _, processor = (part.strip() for part in target.partition(" "))
    known = sorted(map(str, codegen.llvm_get_targets()))
    if triple.split("-")[0] not in known:
        raise ConfigError(
            f"tvm_target {target!r}: LLVM knows no processor family {triple.split('-')[0]!r}; expected a triple such as"
            " aarch64-linux-gnu, and a processor such as cortex-a76 after it"
        )
    options = {"kind": "llvm", "mtriple": triple, **({"mcpu": processor} if processor else {})}
    if processor and not codegen.llvm_is_valid_cpu(processor, triple):
        raise ConfigError(f"tvm_target {target!r}: LLVM knows no processor {processor!r} for {triple}")
    if triple.split("-")[0] == platform.machine():
        return options, None
    compiler = shutil.which(f"{triple}-g++")
    if compiler is None:
        raise ConfigError(
            f"tvm_target {target!r} needs the cross compiler {triple}-g++ here (Debian: apt-get install"
            f" g++-{triple.replace('_', '-')})"
        )
    return options, cc.cross_compiler(compiler)


def fuse_operators(module: Any, tools: Toolchain) -> Any:
    """The Relax module in NHWC, every operator lowered to TIR, elementwise ones fused into the one before them."""
    from tvm import relax
    from tvm.ir.transform import Sequential

    passes = relax.transform
    with tools.target:
        return Sequential(
            [
                passes.CanonicalizeBindings(),
                _rewrite(_simplified),
                passes.CanonicalizeBindings(),
                passes.ConvertLayout({"relax.nn.conv2d": ["NHWC", "HWIO"]}),
                passes.Normalize(),
                passes.CanonicalizeBindings(),
                _rewrite(_simplified),
                passes.CanonicalizeBindings(),
                passes.LegalizeOps(),
                passes.AnnotateTIROpPattern(),
                passes.FuseOps(),
                passes.FuseTIR(),
                passes.DeadCodeElimination(),
            ]
        )(module)


def schedule_functions(module: Any, tools: Toolchain, tiles: Mapping[str, Tile] | None = None) -> Any:
    """The module with a schedule for every TIR function; `tiles`, by the functions' names, replace the rule's choice.

    A function that the rules don't know keeps its plain loops: slow, and right.
    """
    from tvm.s_tir.schedule import ScheduleError
    from tvm.tirx import PrimFunc

    scheduled = module.clone()
    for name, function in module.functions_items():
        if isinstance(function, PrimFunc):
            try:
                scheduled[name] = schedule(function, tools.unit, (tiles or {}).get(str(name.name_hint)))
            except (ScheduleError, TypeError, ValueError):  # a loop of no constant length, for one
                continue
    return scheduled


def compile_library(module: Any, tools: Toolchain) -> bytes:
    """The bytes of a shared library that holds the module, compiled, with its constants."""
    from tvm import relax

    with tempfile.TemporaryDirectory(prefix="hwnas-") as folder:
        path = Path(folder) / "network.so"  # TVM goes by the suffix
        executable = relax.build(module, tools.target)
        executable.export_library(str(path), **({"fcompile": tools.link} if tools.link else {}))
        return path.read_bytes()


def _simplified(call: Any, value: Callable[[Any], Any]) -> Any:
    """Constants of another shape for calls that give them that shape; minimum and maximum for a clip.

    TVM's own constant folding compiles and runs each, which takes longer than all else together; and its layout
    conversion knows no clip, and puts a transpose before and one after.
    """
    from tvm import relax

    name = getattr(call.op, "name", None)
    if name in ("relax.reshape", "relax.expand_dims", "relax.permute_dims"):
        source = value(call.args[0])
        if isinstance(source, relax.Constant):
            array = source.data.numpy()
            if name == "relax.permute_dims":
                array = array.transpose(None if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes])
            array = np.ascontiguousarray(array).reshape([int(size) for size in call.ty.shape])
            return relax.const(array, str(array.dtype))
    if name == "relax.clip":
        clipped, low, high = call.args
        for bound, operator in ((low, relax.op.maximum), (high, relax.op.minimum)):
            if math.isfinite(float(bound.value)):
                clipped = operator(clipped, relax.const(float(bound.value), str(call.ty.dtype)))
        return clipped
    return call


def _rewrite(function: Callable[[Any, Callable[[Any], Any]], Any]) -> Any:
    """A pass that puts `function(call, value)` for every call; `value` gives what a variable is bound to."""
    import tvm
    from tvm import relax

    @relax.expr_functor.mutator
    class Mutator(relax.PyExprMutator):  # type: ignore[misc]
        def visit_call_(self, call: Any) -> Any:
            return function(super().visit_call_(call), self._value)

        def _value(self, expression: Any) -> Any:
            found = self.lookup_binding(expression) if isinstance(expression, relax.Var) else None
            return expression if found is None else found

    @tvm.transform.module_pass(opt_level=0)  # type: ignore[untyped-decorator]
    def rewrite(module: Any, _: Any) -> Any:
        mutator = Mutator(module)
        for name, part in module.functions_items():
            if isinstance(part, relax.Function):
                mutator.builder_.update_func(name, mutator.visit_expr(part))
        return mutator.builder_.get()

    return rewrite
