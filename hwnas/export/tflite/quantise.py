"""TFLite files in float16, int8 and dynamic int8, from the float flatbuffer, by ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState
from hwnas.export.tflite.flatbuffer import HALF_PRECISION, add_metadata
from hwnas.export.tflite.operators import (
    BORDERS,
    WEIGHTED,
    operator_layers,
    operator_names,
    operator_scopes,
    output_types,
)
from hwnas.export.tflite.ranges import Ranges

__all__ = ["dynamic_integer", "float16", "full_integer", "layer_errors", "run_images"]

SIGNATURE = "serving_default"
# Without a kernel for int8 weights under float values, XNNPACK leaves depthwise convolutions to a slower one.
DYNAMIC = ("CONV_2D", "FULLY_CONNECTED")
ERROR_IMAGES = 16


def float16(content: bytes, float_layers: Sequence[str] = ()) -> bytes:
    """The same file with float16 weights, for computing in float16 where XNNPACK can (ARMv8.2), else in float32."""
    from ai_edge_quantizer import qtyping

    quantizer = _quantizer(content)
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    for kind in WEIGHTED:
        quantizer.update_quantization_recipe(
            ".*",
            qtyping.TFLOperationName[kind],
            qtyping.OpQuantizationConfig(
                weight_tensor_config=weights,
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            "float_casting",
        )
    _keep_float(quantizer, content, float_layers)
    return add_metadata(_quantised(quantizer, None), *HALF_PRECISION)


def dynamic_integer(content: bytes, float_layers: Sequence[str] = ()) -> bytes:
    """The same file with int8 weights, a scale for each output channel, whose inputs are quantised as it runs.

    Depthwise convolutions stay float.
    """
    quantizer = _dynamic_quantizer(content)
    _keep_float(quantizer, content, float_layers)
    return _quantised(quantizer, None)


def full_integer(content: bytes, ranges: Ranges, float_layers: Sequence[str] = ()) -> bytes:
    """The same function in int8 throughout, between a QUANTIZE of its float32 input and a DEQUANTIZE of its output.

    Weights have a scale for each output channel. `content` is a file after `lower_activations`, `ranges` are its
    tensors' by `read_ranges`. `float_layers`, as `layer_errors` names them, stay float. Raises ConfigError for one that
    doesn't exist, ExportError where an operator has no int8 form.
    """
    quantizer = _integer_quantizer(content)
    _keep_float(quantizer, content, float_layers)
    finished = _quantised(quantizer, ranges)
    _check_integer(finished, float_layers)
    return finished


def layer_errors(state: ExportState, quantised_file: Path | str) -> dict[str, float]:
    """The error that each layer causes when it alone is quantised, by the layer's name; worst first.

    The squared error of the logits over their variance in float32, on the first 16 of the images to calibrate on.
    Layers are modules by their path, such as `block3.depthwise`, as far as the quantised file has them in integers.
    """
    content, images, quantised = state.model, state.calibration[:ERROR_IMAGES], Path(quantised_file).read_bytes()
    whole = state.request.precision == "int8"
    layers = dict.fromkeys(
        layer
        for kind, layer, given in zip(
            operator_names(quantised), operator_layers(quantised), output_types(quantised), strict=True
        )
        if kind not in BORDERS and (given == "INT8" if whole else kind in DYNAMIC)
    )
    every = list(dict.fromkeys(operator_layers(content)))
    errors = {}
    with quiet("layer errors"):
        expected = _outputs(content, images)
        spread = float(expected.var()) or 1.0
        for layer in layers:
            quantizer = _integer_quantizer(content) if whole else _dynamic_quantizer(content)
            _keep_float(quantizer, content, [other for other in every if other != layer])
            given = _outputs(_quantised(quantizer, state.ranges), images)
            errors[layer] = float(np.square(given - expected).mean()) / spread
    return dict(sorted(errors.items(), key=lambda entry: -entry[1]))


def _quantizer(content: bytes) -> Any:
    from ai_edge_quantizer import quantizer

    return quantizer.Quantizer(content)


def _integer_quantizer(content: bytes) -> Any:
    from ai_edge_quantizer import qtyping

    quantizer = _quantizer(content)
    names = qtyping.TFLOperationName
    quantizer.add_static_config(".*", names.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    for border in (names.INPUT, names.OUTPUT):
        quantizer.update_quantization_recipe(".*", border, algorithm_key="no_quantize")
    return quantizer


def _dynamic_quantizer(content: bytes) -> Any:
    from ai_edge_quantizer import qtyping

    quantizer = _quantizer(content)
    for kind in DYNAMIC:
        quantizer.add_dynamic_config(".*", qtyping.TFLOperationName[kind], 8)
    return quantizer


def _keep_float(quantizer: Any, content: bytes, layers: Sequence[str]) -> None:
    """Leave the operators of `layers` as they are. Raises ConfigError for a layer that doesn't exist."""
    from ai_edge_quantizer import qtyping

    found = operator_layers(content)
    for layer in layers:
        if layer not in found:
            raise ConfigError(
                f"float_layers: the network has no layer {layer!r}: {choices(layer, dict.fromkeys(found))}"
            )
    chosen = set(layers)
    for layer, scope in zip(found, operator_scopes(content), strict=True):
        if layer in chosen:
            quantizer.update_quantization_recipe(
                f"^{re.escape(scope)}$", qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize"
            )


def _quantised(quantizer: Any, ranges: Ranges | None) -> bytes:
    return bytes(quantizer.quantize(ranges, enable_progress_report=False).quantized_model)


def _outputs(content: bytes, images: NDArray[np.float32]) -> NDArray[np.float32]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    return run_images(interpreter, images)


def run_images(interpreter: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outputs `[N, …]` of an interpreter with allocated tensors for images `[N, C, H, W]`, one after another."""
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in np.ascontiguousarray(images.transpose(0, 2, 3, 1)):
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(target))
    return np.concatenate(outputs)


def _check_integer(content: bytes, float_layers: Sequence[str]) -> None:
    """Raise ExportError for an operator outside `float_layers` and the borders that gives float values."""
    types = output_types(content)
    left = [
        f"{kind} in {layer}"
        for kind, layer, given in zip(operator_names(content), operator_layers(content), types, strict=True)
        if given != "INT8" and kind not in BORDERS and layer not in float_layers
    ]
    if left:
        raise ExportError(
            f"tflite export: no int8 form of {', '.join(sorted(set(left)))}: choose another activation,"
            " or precisions=[fp32]"
        )
