"""TFLite files by litert-torch, and LiteRT to run them."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

from hwnas.errors import ExportError
from hwnas.export import synthetic_tflite
from hwnas.export.depthwise_tflite import split_depthwise
from hwnas.export.flatbuffer import add_metadata, operator_names
from hwnas.export.formats import ExportRequest, ModelFormat, Runner
from hwnas.export.passes import (
    ExportState,
    Pass,
    errors_of_files,
    first_line,
    fold_batch_norm,
    on_cpu,
    require,
    to_file,
)
from hwnas.export.quantise_tflite import dynamic_integer, float16, full_integer, layer_errors, run_images
from hwnas.export.quiet import quiet

__all__ = ["FORMAT", "METADATA_NAME", "export_tflite", "load_runner"]

PACKAGES = ("ai_edge_litert", "litert_torch")
QUANTISER = ("ai_edge_quantizer",)
METADATA_NAME = "hwnas"
LAYOUT_OPERATORS = ("TRANSPOSE",)


def export_tflite(request: ExportRequest, path: Path | str) -> Path:
    """Write the network as a TFLite file with an NHWC input `[1, H, W, C]`, and return the path.

    Input and output are float32 in every precision. No transposes are inserted; one signature, `serving_default`. The
    metadata is JSON in the file's metadata entry `hwnas`. The same request gives the same bytes. Raises
    MissingExtraError, ConfigError, ExportError, StorageError.
    """
    require(("torch",), "train", "exporting")
    require(PACKAGES, "litert", "exporting to TFLite")
    if request.precision != "fp32":
        require(QUANTISER, "litert", f"TFLite files in {request.precision}")
    return to_file(FORMAT, PASSES, request, path)


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
    if found := sorted(set(operator_names(state.model)) & set(LAYOUT_OPERATORS)):
        raise ExportError(
            f"tflite export: layout operators were inserted: {', '.join(found)}; expected a network that keeps"
            " height and width as axes up to its flattening (pool with keepdim=True)"
        )
    return state


def _split_depthwise(state: ExportState) -> ExportState:
    return replace(state, model=split_depthwise(state.model))


def _quantise(state: ExportState) -> ExportState:
    request = state.request
    if request.precision == "fp16":
        return replace(state, model=float16(state.model, request.float_layers))
    if request.precision == "int8_dynamic":
        return replace(state, model=dynamic_integer(state.model, request.float_layers))
    if request.precision == "int8":
        return replace(state, model=full_integer(state.model, state.calibration, request.float_layers))
    return state


def _attach_metadata(state: ExportState) -> ExportState:
    content = json.dumps(dict(state.request.metadata), sort_keys=True).encode()
    return replace(state, model=add_metadata(state.model, METADATA_NAME, content))


def _layer_errors(request: ExportRequest, quantised_file: Path | str) -> dict[str, float]:
    return errors_of_files(layer_errors, FORMAT, request, quantised_file)


PASSES: tuple[Pass, ...] = (
    ("copy to CPU", on_cpu),
    ("fold batch norm", fold_batch_norm),
    ("convert", _convert),
    ("check layout", _check_layout),
    ("split depthwise convolutions", _split_depthwise),
    ("quantise", _quantise),
    ("attach metadata", _attach_metadata),
)

FORMAT = ModelFormat(
    name="tflite",
    suffix=".tflite",
    runtime="litert",
    layout="NHWC",
    extra="litert",
    packages=PACKAGES,
    precisions=("fp32", "fp16", "int8", "int8_dynamic"),
    export=export_tflite,
    write_synthetic=synthetic_tflite.write,
    load_runner=load_runner,
    layer_errors=_layer_errors,
)
