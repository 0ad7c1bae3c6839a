"""TFLite files by litert-torch, and LiteRT to run them.

Inputs of four axes are NHWC, `[1, H, W, C]`; outputs of four are NCHW, as torch gives them. An image and logits are
float32 in every precision; torch's int64 is int32. One signature, `serving_default`. The metadata is JSON in the file's
metadata entry `hwnas`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ExportError
from hwnas.export.formats import Array, ModelFormat, Runner
from hwnas.export.passes import first_line, fold_batch_norm, on_cpu, require
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState
from hwnas.export.signature import Port
from hwnas.export.tflite.activations import lower_activations
from hwnas.export.tflite.depthwise import split_depthwise
from hwnas.export.tflite.flatbuffer import add_metadata
from hwnas.export.tflite.graph import TfliteGraph
from hwnas.export.tflite.operators import operator_names, read_operators
from hwnas.export.tflite.quantise import dynamic_integer, float16, full_integer, layer_errors
from hwnas.export.tflite.ranges import bound_padding, read_ranges

__all__ = ["FORMAT", "METADATA_NAME", "open_file"]

PACKAGES = ("ai_edge_litert", "litert_torch", "ai_edge_quantizer")
METADATA_NAME = "hwnas"
LAYOUT_OPERATORS = ("TRANSPOSE",)


def open_file(path: Path | str, threads: int = 1) -> Runner:
    """The file in a LiteRT interpreter (XNNPACK). Raises MissingExtraError, and ExportError for a broken file."""
    require(("ai_edge_litert",), "litert", "running TFLite files")
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet("LiteRT"):
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as cause:
        raise ExportError(f"LiteRT can't load {path}: {first_line(cause)}; export it again") from cause
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()  # in the network's order

    def run(inputs: Sequence[Array]) -> list[Array]:
        ports = [Port("", tuple(one["shape"]), np.dtype(one["dtype"]).name) for one in sources]
        fed = [
            port.to_file(values, "NHWC").astype(port.dtype, copy=False)
            for port, values in zip(ports, inputs, strict=True)
        ]
        singles = []
        for i in range(len(inputs[0])):
            for source, values in zip(sources, fed, strict=True):
                interpreter.set_tensor(source["index"], values[i : i + 1])
            interpreter.invoke()
            singles.append([interpreter.get_tensor(target["index"]) for target in targets])
        return [np.stack(given) for given in zip(*singles, strict=True)]

    return run


def _pool_inside(state: ExportState) -> ExportState:
    from hwnas.export.tflite.pooling import count_no_padding

    return replace(state, module=count_no_padding(state.module))


def _convert(state: ExportState) -> ExportState:
    import litert_torch

    turned = [place for place, one in enumerate(state.examples) if one.ndim == 4 and one.is_floating_point()]
    ordered = _ordered(state, turned)
    maps = [0] if state.request.is_part and _gives_map(state) else None
    module = litert_torch.to_channel_last_io(ordered, args=turned, outputs=maps).eval()
    examples = tuple(
        one.permute(0, 2, 3, 1).contiguous() if place in turned else one for place, one in enumerate(state.examples)
    )
    return replace(state, model=litert_torch.convert(module, examples).model_content())


def _gives_map(state: ExportState) -> bool:
    import torch

    with torch.no_grad():
        result: torch.Tensor = state.module(*state.examples)
    return result.ndim == 4


def _ordered(state: ExportState, turned: Sequence[int]) -> Any:
    """A user's network with inputs whose values lie in torch's order: forwards with `.view` ask for it."""
    if state.request.plain_layout:
        return state.module
    from torch import Tensor, nn

    class Ordered(nn.Module):
        def __init__(self, wrapped: nn.Module) -> None:
            super().__init__()
            self.wrapped = wrapped

        def forward(self, *inputs: Tensor) -> Any:
            return self.wrapped(*(one.contiguous() if place in turned else one for place, one in enumerate(inputs)))

    return Ordered(state.module)


def _name_ends(state: ExportState) -> ExportState:
    """The signature's names, where the network has one; litert-torch's own for an image and logits."""
    if state.request.signature is None or state.request.signature.classifies:
        return state
    graph = TfliteGraph(state.model)
    graph.name_ends(*state.names)
    return replace(state, model=graph.packed())


def _check_layout(state: ExportState) -> ExportState:
    found = sorted(set(operator_names(state.model)) & set(LAYOUT_OPERATORS))
    if found and state.request.plain_layout:
        raise ExportError(
            f"tflite export: layout operators were inserted: {', '.join(found)}; expected a network that keeps"
            " height and width as axes up to its flattening (pool with keepdim=True)"
        )
    return state


def _split_depthwise(state: ExportState) -> ExportState:
    return replace(state, model=split_depthwise(state.model))


def _read_ranges(state: ExportState) -> ExportState:
    """In int8, those of a graph of operators that have int8 forms."""
    if state.request.precision != "int8":
        return state
    lowered = lower_activations(state.model)
    ranges = read_ranges(lowered, state.calibration)
    return replace(state, model=bound_padding(lowered, ranges), ranges=ranges)


def _quantise(state: ExportState) -> ExportState:
    kept = state.request.float_layers
    if state.request.precision == "fp16":
        return replace(state, model=float16(state.model, kept))
    if state.request.precision == "int8_dynamic":
        return replace(state, model=dynamic_integer(state.model, kept))
    if state.request.precision == "int8":
        return replace(state, model=full_integer(state.model, state.ranges, kept))
    return state


def _attach_metadata(state: ExportState) -> ExportState:
    content = json.dumps(dict(state.request.metadata), sort_keys=True).encode()
    return replace(state, model=add_metadata(state.model, METADATA_NAME, content))


FORMAT = ModelFormat(
    name="tflite",
    suffix=".tflite",
    runtime="litert",
    layout="NHWC",
    extra="litert",
    packages=PACKAGES,
    precisions=("fp32", "fp16", "int8", "int8_dynamic"),
    graph_passes=(
        ("copy to CPU", on_cpu),
        ("fold batch norm", fold_batch_norm),
        ("average inside the image", _pool_inside),
        ("convert", _convert),
        ("name inputs and outputs", _name_ends),
        ("check layout", _check_layout),
        ("split depthwise convolutions", _split_depthwise),
        ("read ranges", _read_ranges),
    ),
    file_passes=(
        ("quantise", _quantise),
        ("attach metadata", _attach_metadata),
    ),
    open=open_file,
    layer_errors=layer_errors,
    read_operators=read_operators,
)
