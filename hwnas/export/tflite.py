"""TFLite files by litert-torch, and LiteRT to run them.

Their input is NHWC, `[1, H, W, C]`, and float32 as the output is, in every precision. One
signature, `serving_default`. The metadata is JSON in the file's metadata entry `hwnas`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from hwnas.errors import ExportError
from hwnas.export import synthetic_tflite
from hwnas.export.depthwise_tflite import split_depthwise
from hwnas.export.flatbuffer import add_metadata, operator_names
from hwnas.export.formats import ModelFormat, Runner
from hwnas.export.lower_tflite import lower_activations
from hwnas.export.passes import first_line, fold_batch_norm, on_cpu, require
from hwnas.export.quantise_tflite import (
    dynamic_integer,
    float16,
    full_integer,
    layer_errors,
    read_ranges,
    run_images,
)
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState

__all__ = ["FORMAT", "METADATA_NAME", "load_runner"]

PACKAGES = ("ai_edge_litert", "litert_torch", "ai_edge_quantizer")
METADATA_NAME = "hwnas"
LAYOUT_OPERATORS = ("TRANSPOSE",)


def load_runner(path: Path | str, threads: int = 1) -> Runner:
    """The file in a LiteRT interpreter (XNNPACK). Raises MissingExtraError, and ExportError for a broken file."""
    require(("ai_edge_litert",), "litert", "running TFLite files")
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet("LiteRT"):
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as cause:
        raise ExportError(f"LiteRT can't load {path}: {first_line(cause)}; export it again") from cause
    return partial(run_images, interpreter)


def _convert(state: ExportState) -> ExportState:
    import litert_torch

    channels_last = litert_torch.to_channel_last_io(state.module, args=[0]).eval()
    example = state.example.permute(0, 2, 3, 1).contiguous()
    return replace(state, model=litert_torch.convert(channels_last, (example,)).model_content())


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
    return replace(state, model=lowered, ranges=read_ranges(lowered, state.calibration))


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
        ("convert", _convert),
        ("check layout", _check_layout),
        ("split depthwise convolutions", _split_depthwise),
        ("read ranges", _read_ranges),
    ),
    file_passes=(
        ("quantise", _quantise),
        ("attach metadata", _attach_metadata),
    ),
    write_synthetic=synthetic_tflite.write,
    load_runner=load_runner,
    layer_errors=layer_errors,
)
