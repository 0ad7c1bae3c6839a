"""ONNX files by `torch.onnx.export` in four precisions, and ONNX Runtime to run them.

Input `input` `[1, C, H, W]`, output `logits`, both float32 in every precision, or what the network's signature says;
`config.dynamic_batch` leaves the number of images open. Batch norm after a convolution is folded, nodes are named by
their modules, shapes inferred and checked. The metadata becomes the model's metadata properties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.formats import Array, ModelFormat, Runner
from hwnas.export.onnx.compress import half_precision, quantise_weights
from hwnas.export.onnx.graph import OPSET, constants_of, give_constants, layers_of, name_nodes, pool_globally
from hwnas.export.onnx.operators import read_operators
from hwnas.export.onnx.quantise import quantise
from hwnas.export.onnx.ranges import calibrate
from hwnas.export.onnx.sensitivity import layer_errors
from hwnas.export.passes import first_line, fold_batch_norm, on_cpu, order_weights, require
from hwnas.export.request import ExportState, Pass

__all__ = ["FORMAT", "TRACING", "open_file"]

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32}


def open_file(path: Path | str, threads: int = 1) -> Runner:
    """The file in an ONNX Runtime session on the CPU. Raises MissingExtraError, and ExportError for a broken file.

    Files with an open batch are given all images at once, others one by one.
    """
    require(("onnxruntime",), "onnxruntime", "running ONNX files")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # its exceptions share no base but Exception
        raise ExportError(_refusal(Path(path), cause, onnxruntime.__version__)) from cause
    sources = session.get_inputs()
    fixed = all(isinstance(source.shape[0], int) for source in sources)

    def run(inputs: Sequence[Array]) -> list[Array]:
        fed = {one.name: values.astype(_DTYPES.get(one.type, values.dtype), copy=False)
               for one, values in zip(sources, inputs, strict=True)}  # fmt: skip
        if not fixed:
            return [given[:, None] for given in session.run(None, fed)]
        singles = [
            session.run(None, {name: values[i : i + 1] for name, values in fed.items()}) for i in range(len(inputs[0]))
        ]
        return [np.stack(given) for given in zip(*singles, strict=True)]

    return run


def _refusal(path: Path, cause: Exception, installed: str) -> str:
    """Why ONNX Runtime refuses a file: too old for it, or the file is broken."""
    text = first_line(cause)
    if "IR version" in text or "opset" in text.lower():
        import onnx

        model = onnx.load(path, load_external_data=False)
        opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
        return (
            f"ONNX Runtime {installed} is too old for {path} (IR version {model.ir_version}, opset {opsets}): install a"
            " newer onnxruntime, or export the file again"
        )
    return f"ONNX Runtime can't load {path}: {text}; export it again"


def _trace(state: ExportState) -> ExportState:
    import torch

    dynamic = state.request.config.dynamic_batch
    examples, (inputs, outputs) = state.examples, state.names
    if dynamic and not state.request.together:
        raise ExportError(
            "onnx export: export.dynamic_batch needs a network that answers each image of a batch as if alone, and"
            " whose outputs have a batch axis first; this one does not: give export.dynamic_batch=false"
        )
    program = torch.onnx.export(
        state.module,
        # An example of one image would make the traced number of images a constant.
        tuple(one.repeat(2, *(1,) * (one.ndim - 1)) for one in examples) if dynamic else examples,
        dynamo=True,
        input_names=inputs,
        output_names=outputs,
        opset_version=OPSET,
        dynamic_shapes=_open_batch(state.module, len(examples)) if dynamic else None,
        verbose=False,
    )
    if program is None:
        raise ExportError("torch.onnx.export returned no program; expected an ONNXProgram: install torch 2.7 or newer")
    return replace(state, model=program.model_proto)


def _open_batch(module: Any, count: int) -> Any:
    import torch

    from hwnas.export.module.forward import Flat

    batch = {0: torch.export.Dim("batch")}
    # The inputs of `Flat` are one parameter of its forward.
    return ((batch,) * count,) if isinstance(module, Flat) else (batch,) * count


def _drop_debug_information(state: ExportState) -> ExportState:
    """Stack traces name the exporting machine's folders, and are a quarter of a small file."""
    graph = state.model.graph
    graph.name = "network"
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return state


def _read_ranges(state: ExportState) -> ExportState:
    if state.request.precision != "int8":
        return state
    config = state.request.config
    ranges = calibrate(state.model, state.calibration, config.calibration_method, config.calibration_percentile)
    return replace(state, ranges=ranges)


def _change_precision(state: ExportState) -> ExportState:
    request = state.request
    layers = layers_of(state.model)
    for layer in request.float_layers:
        if layer not in layers:
            raise ConfigError(f"float_layers: {layer!r} is no layer of the network: {choices(layer, layers)}")
    if request.precision == "fp16":
        return replace(state, model=half_precision(state.model, request.float_layers))
    if request.precision == "int8_dynamic":
        return replace(state, model=quantise_weights(state.model, request.float_layers))
    if request.precision == "int8":
        reduce_range = request.config.reduce_range
        quantised = quantise(state.model, state.ranges, request.float_layers, reduce_range=reduce_range)
        return replace(state, model=quantised)
    return state


def _attach_metadata(state: ExportState) -> ExportState:
    from onnx import helper

    helper.set_model_props(state.model, dict(state.request.metadata))
    return state


def _infer_shapes(state: ExportState) -> ExportState:
    import onnx

    model: Any = onnx.shape_inference.infer_shapes(state.model, check_type=True, strict_mode=True, data_prop=True)
    return replace(state, model=model)


def _check(state: ExportState) -> ExportState:
    import onnx

    model = state.model
    onnx.checker.check_model(model, full_check=True)
    constants = constants_of(model.graph)
    if left := sorted({node.op_type for node in model.graph.node if _is_training(node, constants)}):
        raise ExportError(
            f"onnx export: nodes in training mode are left in the graph: {', '.join(left)}; expected a network in eval"
            " mode throughout, such as F.dropout(x, training=self.training)"
        )
    free = 1 if state.request.config.dynamic_batch else 0
    for value in (*model.graph.input, *model.graph.output):
        if any(not size.dim_value for size in value.type.tensor_type.shape.dim[free:]):
            raise ExportError(f"onnx export: {value.name!r} has no static shape; expected a network of fixed shapes")
    return state


def _is_training(node: Any, constants: Mapping[str, Any]) -> bool:
    from onnx import numpy_helper

    if node.op_type == "BatchNormalization":
        asked = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        return asked or len([name for name in node.output if name]) > 1
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    mode = constants.get(node.input[2])
    return mode is None or bool(numpy_helper.to_array(mode))


def _serialise(state: ExportState) -> ExportState:
    return replace(state, model=state.model.SerializeToString(deterministic=True))


TRACING: tuple[Pass, ...] = (
    ("order weights", order_weights),
    ("trace", _trace),
    ("name nodes", name_nodes),
    ("give constants", give_constants),
    ("drop debug information", _drop_debug_information),
    ("pool globally", pool_globally),
    ("infer shapes", _infer_shapes),
)
"""From a folded module to its graph in float32, for TVM as well."""


FORMAT = ModelFormat(
    name="onnx",
    suffix=".onnx",
    runtime="onnxruntime",
    layout="NCHW",
    extra="onnxruntime",
    packages=PACKAGES,
    precisions=("fp32", "fp16", "int8", "int8_dynamic"),
    graph_passes=(
        ("copy to CPU", on_cpu),
        ("fold batch norm", fold_batch_norm),
        *TRACING,
        ("read ranges", _read_ranges),
    ),
    file_passes=(
        ("change precision", _change_precision),
        ("infer shapes again", _infer_shapes),
        ("attach metadata", _attach_metadata),
        ("check", _check),
        ("serialise", _serialise),
    ),
    open=open_file,
    layer_errors=layer_errors,
    read_operators=read_operators,
)
