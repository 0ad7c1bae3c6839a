"""ONNX files by `torch.onnx.export`, and ONNX Runtime to run them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ExportError
from hwnas.export import synthetic_onnx
from hwnas.export.formats import ExportRequest, ModelFormat, Runner
from hwnas.export.passes import ExportState, Pass, first_line, fold_batch_norm, on_cpu, require, to_file

__all__ = ["FORMAT", "export_onnx", "load_runner"]

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TRAINING_NODES = ("BatchNormalization", "Dropout")


def export_onnx(request: ExportRequest, path: Path | str) -> Path:
    """Write the network as an ONNX file with input `input` `[1, C, H, W]` and output `logits`; returns the path.

    Static shape, batch norm folded, checked with shape inference. The metadata becomes the model's
    metadata properties. Raises MissingExtraError, ExportError, StorageError.
    """
    require(("torch",), "train", "exporting")
    require(PACKAGES, "onnxruntime", "exporting to ONNX")
    return to_file(FORMAT, PASSES, request, path)


def load_runner(path: Path | str, threads: int = 1) -> Runner:
    """The file in an ONNX Runtime session on the CPU. Raises MissingExtraError, and ExportError for a broken file."""
    require(("onnxruntime",), "onnxruntime", "running ONNX files")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # its exceptions share no base but Exception
        raise ExportError(f"ONNX Runtime can't load {path}: {first_line(cause)}; export it again") from cause
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = [session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))]
        return np.concatenate(outputs).astype(np.float32, copy=False)

    return run


def _trace(state: ExportState) -> ExportState:
    import torch

    program = torch.onnx.export(
        state.module,
        (state.example,),
        dynamo=True,
        input_names=["input"],
        output_names=["logits"],
        opset_version=synthetic_onnx.OPSET,
        verbose=False,
    )
    if program is None:
        raise ExportError("torch.onnx.export returned no program; expected an ONNXProgram: install torch 2.7 or newer")
    return replace(state, model=program.model_proto)


def _drop_debug_information(state: ExportState) -> ExportState:
    """Stack traces name the exporting machine's folders, and are a quarter of a small file."""
    graph = state.model.graph
    graph.name = "network"
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return state


def _attach_metadata(state: ExportState) -> ExportState:
    from onnx import helper

    helper.set_model_props(state.model, dict(state.request.metadata))
    return state


def _check(state: ExportState) -> ExportState:
    import onnx

    model: Any = onnx.shape_inference.infer_shapes(state.model, check_type=True, strict_mode=True, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    if left := sorted({node.op_type for node in model.graph.node} & set(TRAINING_NODES)):
        raise ExportError(f"onnx export: training nodes are left in the graph: {', '.join(left)}; call .eval() first")
    for value in (*model.graph.input, *model.graph.output):
        if any(not size.dim_value for size in value.type.tensor_type.shape.dim):
            raise ExportError(f"onnx export: {value.name!r} has no static shape; expected a network of fixed shapes")
    return replace(state, model=model)


def _serialise(state: ExportState) -> ExportState:
    return replace(state, model=state.model.SerializeToString())


PASSES: tuple[Pass, ...] = (
    ("copy to CPU", on_cpu),
    ("fold batch norm", fold_batch_norm),
    ("trace", _trace),
    ("drop debug information", _drop_debug_information),
    ("attach metadata", _attach_metadata),
    ("check", _check),
    ("serialise", _serialise),
)

FORMAT = ModelFormat(
    name="onnx",
    suffix=".onnx",
    runtime="onnxruntime",
    layout="NCHW",
    extra="onnxruntime",
    packages=PACKAGES,
    precisions=("fp32",),
    export=export_onnx,
    write_synthetic=synthetic_onnx.write,
    load_runner=load_runner,
)
