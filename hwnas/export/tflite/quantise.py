"""TFLite files in float16, int8 and dynamic int8, from the float flatbuffer, by ai-edge-quantizer."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.quiet import quiet
from hwnas.export.request import ExportState
from hwnas.export.sampled_range import SampledRange
from hwnas.export.tflite.flatbuffer import (
    HALF_PRECISION,
    add_metadata,
    operator_layers,
    operator_names,
    operator_scopes,
    output_types,
    value_names,
)
from hwnas.export.tflite.graph import TfliteGraph

__all__ = ["dynamic_integer", "float16", "full_integer", "layer_errors", "read_ranges", "run_images"]

SIGNATURE = "serving_default"
BORDERS = ("QUANTIZE", "DEQUANTIZE")
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Without a kernel for int8 weights under float values, XNNPACK leaves depthwise convolutions to a slower one.
DYNAMIC = ("CONV_2D", "FULLY_CONNECTED")
ERROR_IMAGES = 16

Ranges = dict[str, dict[str, Any]]


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


def read_ranges(content: bytes, images: NDArray[np.float32]) -> Ranges:
    """From where to where each tensor's values lie on `images` `[N, C, H, W]`, without the outermost at either end.

    Wider where XNNPACK's limits ask for it. By the tensors' names, as `Quantizer.quantize` takes them.
    """
    return _within_limits(content, _ranges(content, images))


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


def _ranges(content: bytes, images: NDArray[np.float32]) -> Ranges:
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping every tensor takes memory
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    source, names, rng = interpreter.get_input_details()[0]["index"], value_names(content), np.random.default_rng(0)
    seen = {number: SampledRange() for number in names}
    for image in np.ascontiguousarray(images.transpose(0, 2, 3, 1)):
        interpreter.set_tensor(source, image[None])
        interpreter.invoke()
        for number, values in seen.items():
            values.add(interpreter.get_tensor(number)[None], rng)
    ranges = {}
    for number, values in seen.items():
        low, high = values.bounds()
        shape = (1,) * interpreter.get_tensor(number).ndim
        ranges[names[number]] = {"min": _filled(shape, low), "max": _filled(shape, high)}
    return ranges


def _within_limits(content: bytes, ranges: Ranges) -> Ranges:
    """`ranges`, wider where values vary so little that XNNPACK's scales could not express it.

    It refuses a sum whose input has less than 2**-10 of its scale, and a convolution whose scale is less than 2**-8 of
    its input's times its weights': a file with one crashed as it was loaded. Branches that add next to nothing are so:
    large kernels' outer rows on small maps, channels that training has silenced. Twice these limits is kept to.
    """
    graph = TfliteGraph(content)
    least: dict[str, float] = {}

    def width(number: int) -> float:
        found = ranges.get(graph.name(number))
        return (
            0.0
            if found is None
            else max(float((found["max"] - found["min"]).max()), least.get(graph.name(number), 0.0))
        )

    for operator in graph.operators:
        output = int(operator.outputs[0])
        if graph.kind(operator) in WEIGHTED and (weights := graph.values(int(operator.inputs[1]))) is not None:
            weight_scale = float(np.abs(weights).max()) / 127
            least[graph.name(output)] = 2 * 2**-8 * width(int(operator.inputs[0])) * weight_scale
    for operator in reversed(graph.operators):
        if graph.kind(operator) == "ADD":
            for number in operator.inputs:
                name = graph.name(int(number))
                least[name] = max(least.get(name, 0.0), 2 * 2**-10 * width(int(operator.outputs[0])))
    return {
        name: {end: _filled(one[end].shape, value) for end, value in _widened(one, least.get(name, 0.0)).items()}
        for name, one in ranges.items()
    }


def _widened(found: dict[str, Any], least: float) -> dict[str, float]:
    low, high = float(found["min"].min()), float(found["max"].max())
    missing = max(0.0, least - (high - low))
    return {"min": low - missing / 2, "max": high + missing / 2}


def _filled(shape: tuple[int, ...], value: float) -> NDArray[np.float32]:
    return np.full(shape, value, dtype=np.float32)


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
