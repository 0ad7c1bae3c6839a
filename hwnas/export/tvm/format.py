"""Libraries compiled by TVM for one processor, and Relax's virtual machine to run them.

A shared library with the function `main` `[1, C, H, W]` → `[1, classes]`, or what the network's signature says. It is
compiled for `config.tvm_target`, holds its weights, and runs with TVM's runtime alone. The metadata is JSON in the
bytes that its function `metadata` returns (`read_metadata`).
"""

from __future__ import annotations

import json
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError, ExportError
from hwnas.export.formats import Array, ModelFormat, Runner
from hwnas.export.onnx.format import TRACING
from hwnas.export.passes import first_line, fold_batch_norm, on_cpu, require
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState
from hwnas.export.tvm.build import compile_library, fuse_operators, schedule_functions, toolchain
from hwnas.export.tvm.tune import tune

__all__ = ["FORMAT", "open_file", "read_metadata"]

PACKAGES = ("tvm", "onnx", "onnxscript")
METADATA = "metadata"
VERSION = "tvm_version"
TUNING_SEED = 0
ELF_MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243}


def open_file(path: Path | str, threads: int = 1) -> Runner:
    """The library in a Relax virtual machine. Raises MissingExtraError, and ExportError for a broken file."""
    machine = _load(path)
    import tvm

    configure = tvm.get_global_func("runtime.config_threadpool")

    def run(inputs: Sequence[Array]) -> list[Array]:
        configure(1, threads)  # one pool serves all libraries of the process
        main, outputs = machine["main"], []
        for i in range(len(inputs[0])):
            given = main(*(tvm.runtime.tensor(np.ascontiguousarray(values[i : i + 1])) for values in inputs))
            outputs.append([one.numpy() for one in ([given] if hasattr(given, "numpy") else given)])
        return [np.stack(values) for values in zip(*outputs, strict=True)]

    return run


def read_metadata(path: Path | str) -> dict[str, str]:
    """What the library says of itself, name to text. Raises as `open_file` does."""
    return _metadata(_load(path))


def _load(path: Path | str) -> Any:
    require(("tvm",), "tvm", "running TVM's libraries")
    # The pool of threads is made once, and never grows beyond OMP_NUM_THREADS unless this says more.
    os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count()))
    import tvm
    from tvm import relax

    if not Path(path).is_file():
        raise ExportError(f"TVM can't load {path}: there is no such file; export it again")
    _check_library(Path(path))
    try:
        with quiet("TVM"):
            machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
            compiled_by = _metadata(machine).get(VERSION, "")
    except Exception as cause:  # its exceptions share no base but Exception
        raise ExportError(f"TVM can't load {path}: {first_line(cause)}; export it again") from cause
    if _release(compiled_by) > _release(tvm.__version__):
        raise ExportError(
            f"{path} was compiled by TVM {compiled_by}, and this runtime is {tvm.__version__}:"
            f" pip install 'apache-tvm>={compiled_by}', or export it again"
        )
    return machine


def _check_library(path: Path) -> None:
    """Raise ExportError for a shared library of Linux that was cut off, or is for another processor.

    The system's loader ends the process where a page of the file is missing.
    """
    with path.open("rb") as file:
        header = file.read(64)
    if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
        if platform.system() == "Linux":
            raise ExportError(f"TVM can't load {path}: it is no 64-bit library; export it again")
        return
    (machine,), (sections,) = struct.unpack_from("<H", header, 18), struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<2H", header, 58)
    if sections + size * count > path.stat().st_size:
        raise ExportError(f"TVM can't load {path}: it is cut off; export it again")
    here = platform.machine()
    if machine != ELF_MACHINES.get(here, machine):
        compiled_for = {number: name for name, number in ELF_MACHINES.items()}.get(machine, f"machine {machine}")
        raise ExportError(
            f"TVM can't load {path}: it was compiled for {compiled_for}, and this is {here}; export it again without"
            " export.tvm_target, or run it there"
        )


def _metadata(machine: Any) -> dict[str, str]:
    """Empty for a library that says nothing, as those of latency tables."""
    try:
        function = machine[METADATA]
    except AttributeError:
        return {}
    content: dict[str, str] = json.loads(function().numpy().tobytes())
    return content


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _one_shape(state: ExportState) -> ExportState:
    """A library has one, and no schedule is tuned for another machine."""
    config = state.request.config
    if config.tuning_trials and config.tvm_target is not None:
        raise ConfigError("export.tuning_trials: schedules are timed on this machine; expected no export.tvm_target")
    return replace(state, request=replace(state.request, config=replace(config, dynamic_batch=False)))


def _import(state: ExportState) -> ExportState:
    from tvm.relax.frontend.onnx import from_onnx

    return replace(state, model=from_onnx(state.model, keep_params_in_input=False))


def _attach_metadata(state: ExportState) -> ExportState:
    import tvm
    from tvm import relax

    content = {**state.request.metadata, VERSION: tvm.__version__}
    text = np.frombuffer(json.dumps(content, sort_keys=True).encode(), dtype=np.uint8)
    function = relax.Function([], relax.const(text, "uint8"), ret_ty=relax.TensorType(text.shape, "uint8"))
    model = state.model.clone()
    model[METADATA] = function.with_attr("global_symbol", METADATA)
    return replace(state, model=model)


def _fuse(state: ExportState) -> ExportState:
    return replace(state, model=fuse_operators(state.model, toolchain(state.request.config.tvm_target)))


def _schedule(state: ExportState) -> ExportState:
    tools = toolchain(state.request.config.tvm_target)
    trials = state.request.config.tuning_trials
    tiles = tune(state.model, tools, trials, TUNING_SEED, state.request.progress) if trials else {}
    return replace(state, model=schedule_functions(state.model, tools, tiles))


def _compile(state: ExportState) -> ExportState:
    return replace(state, model=compile_library(state.model, toolchain(state.request.config.tvm_target)))


FORMAT = ModelFormat(
    name="tvm",
    suffix=".so",
    runtime="tvm",
    layout="NCHW",
    extra="tvm",
    packages=PACKAGES,
    precisions=("fp32",),
    graph_passes=(
        ("one shape", _one_shape),
        ("copy to CPU", on_cpu),
        ("fold batch norm", fold_batch_norm),
        *TRACING,
        ("import", _import),
    ),
    file_passes=(
        ("attach metadata", _attach_metadata),
        ("fuse", _fuse),
        ("schedule", _schedule),
        ("compile", _compile),
    ),
    open=open_file,
    compiles_for_target=True,
    distributions={"tvm": "apache-tvm"},
)
