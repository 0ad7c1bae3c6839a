"""Which layers of a quantised ONNX file cost the most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.onnx.compress import quantise_weights
from hwnas.export.onnx.graph import layers_of
from hwnas.export.onnx.quantise import OPERATORS, Ranges, quantise
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState

__all__ = ["layer_errors"]


def layer_errors(state: ExportState, quantised_file: Path | str) -> dict[str, float]:
    """The error that each layer causes when it alone is quantised, by the layer's name; worst first.

    The squared error of the logits on the images to calibrate on, over their variance in float32. Layers that stayed
    float in `quantised_file` are left out.
    """
    import onnx

    model, images = state.model, state.calibration
    exact = _logits(model, images)
    spread = float(exact.var()) or 1.0
    layers = _quantised_layers(model, onnx.load(quantised_file))
    errors: dict[str, float] = {}
    with quiet("ONNX Runtime's quantiser"):
        for layer in layers:
            alone = _one_quantised(model, layer, layers, state.ranges)
            errors[layer] = float(np.square(_logits(alone, images) - exact).mean()) / spread
    return dict(sorted(errors.items(), key=lambda entry: -entry[1]))


def _one_quantised(model: Any, layer: str, layers: Sequence[str], ranges: Ranges | None) -> Any:
    """`model` with one of its layers quantised: weights and activations in `ranges`, or weights alone for None."""
    if ranges is None:
        return quantise_weights(model, [other for other in layers if other != layer])
    return quantise(model, ranges, only=(layer,))


def _quantised_layers(model: Any, quantised: Any) -> list[str]:
    """Layers of `model` in which a node of `quantised` reads what was made from integers."""
    stored = {tensor.name for tensor in quantised.graph.initializer if tensor.data_type == tensor.INT8}
    made: set[str] = set()  # from quantised activations, or from int8 weights by Cast and Mul
    found = set()
    for node in quantised.graph.node:
        if node.op_type == "DequantizeLinear":
            made.update(node.output)
        elif node.op_type == "Cast" and node.input[0] in stored:
            stored.update(node.output)
        elif node.op_type == "Mul" and node.input[0] in stored:
            made.update(node.output)
        elif made & set(node.input):
            found.add(node.name)
    kinds = {node.name: node.op_type for node in model.graph.node}
    return [layer for layer, nodes in layers_of(model).items() if found & set(nodes) and kinds[layer] in OPERATORS]


def _logits(model: Any, images: NDArray[np.float32]) -> NDArray[np.float64]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    outputs = [session.run(None, {name: image[None]})[0] for image in images]
    return np.concatenate(outputs).astype(np.float64)
