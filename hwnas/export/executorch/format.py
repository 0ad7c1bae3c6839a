"""ExecuTorch programs for XNNPACK, and ExecuTorch's runtime for Python to run them.

A program has the method `forward` `[1, C, H, W]` → `[1, classes]`, or what the network's signature says, and all
that XNNPACK runs is delegated to it. In int8, weights are quantised for each channel and activations for each tensor.
The metadata is JSON in the bytes that the method `metadata` returns (`read_metadata`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ExportError
from hwnas.export.formats import Array, LogitsRunner, ModelFormat, Runner
from hwnas.export.passes import first_line, fold_batch_norm, on_cpu, order_weights, require, run_passes
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState, Pass

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

__all__ = ["FORMAT", "open_file", "read_metadata"]

PACKAGES = ("executorch", "torchao")
METADATA = "metadata"
BATCH = 32
"""Images at once where ranges are read: one by one they take several times as long."""


def open_file(path: Path | str, threads: int = 1) -> Runner:
    """The file in ExecuTorch's runtime. Raises MissingExtraError, and ExportError for a broken file."""
    _load(path)
    import torch
    from executorch.extension.pybindings import portable_lib

    def run(inputs: Sequence[Array]) -> list[Array]:
        # One pool of threads serves the process, and a program loaded before it was replaced would use the old one.
        if portable_lib._threadpool_get_thread_count() != threads:
            with quiet("ExecuTorch"):
                portable_lib._unsafe_reset_threadpool(threads)
        program = _load(path)  # its methods live as long as it does
        forward, tensors = (
            program.load_method("forward"),
            [torch.from_numpy(np.ascontiguousarray(one)) for one in inputs],
        )
        singles = [
            # Outputs may lie in the program's own memory, which the next run writes to.
            [one.numpy().copy() for one in forward.execute([values[i : i + 1] for values in tensors])]
            for i in range(len(inputs[0]))
        ]
        return [np.stack(given) for given in zip(*singles, strict=True)]

    return run


def read_metadata(path: Path | str) -> dict[str, str]:
    """What the program says of itself, name to text. Raises as `open_file` does."""
    program = _load(path)
    content: dict[str, str] = json.loads(program.load_method(METADATA).execute([])[0].numpy().tobytes())
    return content


def _load(path: Path | str) -> Any:
    require(("executorch", "torch"), "executorch", "running ExecuTorch programs")
    if not Path(path).is_file():
        raise ExportError(f"ExecuTorch can't load {path}: there is no such file; export it again")
    try:
        with quiet("ExecuTorch"):
            from executorch.runtime import Runtime

            program = Runtime.get().load_program(Path(path).read_bytes())
            for method in ("forward", METADATA):
                program.load_method(method)
            return program
    except Exception as cause:  # RuntimeError with a code, KeyError, OSError
        raise ExportError(f"ExecuTorch can't load {path}: {first_line(cause)}; export it again") from cause


def _trace(state: ExportState) -> ExportState:
    import torch

    return replace(state, model=torch.export.export(state.module, state.examples, strict=False))


def _split_depthwise(state: ExportState) -> ExportState:
    from hwnas.export.executorch.depthwise import split_depthwise

    return split_depthwise(state)


def _read_ranges(state: ExportState) -> ExportState:
    if state.request.precision != "int8":
        return state
    import torch

    from hwnas.export.executorch.quantise import read_ranges

    size = next(size for size in range(_batch(state), 0, -1) if len(state.calibration) % size == 0)
    batches = [torch.from_numpy(images) for images in np.split(state.calibration, len(state.calibration) // size)]
    return replace(state, ranges=read_ranges(_traced_with(state, batches[0]), batches))


def _quantise(state: ExportState) -> ExportState:
    if state.request.precision != "int8":
        return state
    import torch

    from hwnas.export.executorch.quantise import quantise

    quantised = quantise(state.model.module(), state.ranges, state.request.float_layers)
    return replace(state, model=torch.export.export(quantised, (state.example.contiguous(),), strict=False))


def _layer_errors(state: ExportState, quantised_file: Path | str) -> dict[str, float]:  # noqa: ARG001 (can't be taken apart)
    """In torch, on the network as it was traced."""
    import torch

    from hwnas.export.executorch.quantise import layer_errors

    images = torch.from_numpy(state.calibration[: None if state.request.together else 1])
    with quiet("layer errors"):
        return layer_errors(_traced_with(state, images), images, state.ranges, state.request.float_layers)


def _simulate(state: ExportState) -> LogitsRunner:
    """In torch, with values rounded as the program has them: delegating takes several times as long."""
    import torch

    from hwnas.export.executorch.quantise import quantise

    size = _batch(state)
    example = state.example.repeat(size, 1, 1, 1)
    with quiet("simulation"):
        network = quantise(_traced_with(state, example), state.ranges, state.request.float_layers)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        filled = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)])
        with torch.no_grad():
            batches = np.split(filled, len(filled) // size)
            answers = [network(torch.from_numpy(batch)).numpy() for batch in batches]
        return np.concatenate(answers)[: len(images)]

    return run


def _batch(state: ExportState) -> int:
    return BATCH if state.request.together else 1


def _traced_with(state: ExportState, images: Tensor) -> GraphModule:
    """The network as it is traced with as many images at once; nodes have the names that they have with one."""
    request = replace(state.request, example=images)
    traced: GraphModule = run_passes(FORMAT.name, TRACING, ExportState(request, request.module)).model.module()
    return traced


def _delegate(state: ExportState) -> ExportState:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    text = json.dumps(dict(state.request.metadata), sort_keys=True).encode()
    edge = to_edge_transform_and_lower(
        state.model,
        partitioner=[XnnpackPartitioner()],
        constant_methods={METADATA: torch.frombuffer(bytearray(text), dtype=torch.uint8)},
        # Graphs are checked for operators that are none of the core's after each of some thirty passes, a sixth of the
        # time; what comes out is loaded and held against torch.
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    return replace(state, model=edge)


def _serialise(state: ExportState) -> ExportState:
    return replace(state, model=bytes(state.model.to_executorch().buffer))


TRACING: tuple[Pass, ...] = (
    ("copy to CPU", on_cpu),
    ("fold batch norm", fold_batch_norm),
    ("order weights", order_weights),
    ("trace", _trace),
    ("split depthwise", _split_depthwise),
)
"""From a module to the program that is quantised."""

FORMAT = ModelFormat(
    name="executorch",
    suffix=".pte",
    runtime="executorch",
    layout="NCHW",
    extra="executorch",
    packages=PACKAGES,
    precisions=("fp32", "int8"),
    graph_passes=(*TRACING, ("read ranges", _read_ranges)),
    file_passes=(("quantise", _quantise), ("delegate", _delegate), ("serialise", _serialise)),
    open=open_file,
    layer_errors=_layer_errors,
    simulate=_simulate,
)
