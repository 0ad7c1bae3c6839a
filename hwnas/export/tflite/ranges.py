"""The ranges of a TFLite file's tensors, read off real images: what int8's scales are made of."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.sampled_range import SampledRange
from hwnas.export.tflite.graph import TfliteGraph
from hwnas.export.tflite.operators import WEIGHTED, value_names

__all__ = ["Ranges", "bound_padding", "read_ranges"]

Ranges = dict[str, dict[str, Any]]
"""The smallest and the largest value, `min` and `max`, of each tensor by its name, as ai-edge-quantizer has them."""


def read_ranges(content: bytes, images: NDArray[np.float32]) -> Ranges:
    """From where to where each tensor's values lie on `images` `[N, C, H, W]`, without the outermost at either end.

    Wider where XNNPACK's limits ask for it. By the tensors' names, as `Quantizer.quantize` takes them.
    """
    ranges = _ranges(content, images)
    for source, padded, _ in _paddings(TfliteGraph(content)):
        ranges[padded] = ranges[source]
    return _within_limits(content, ranges)


def bound_padding(content: bytes, ranges: Ranges) -> bytes:
    """The same file with the padding of a maximum, which is the least number there is, as the least of the `ranges`.

    A scale that holds minus infinity is none: a file with one crashed as it was loaded.
    """
    graph = TfliteGraph(content)
    for source, _, operator in _paddings(graph):
        value, amounts, constant = map(int, operator.inputs)
        least = np.full_like(graph.values(constant), ranges[source]["min"].min())
        operator.inputs = [value, amounts, graph.with_values(constant, least)]
    return graph.packed()


def _paddings(graph: TfliteGraph) -> list[tuple[str, str, Any]]:
    """Of each padding by a value of its own what is padded, the result, and the operator."""
    found = [operator for operator in graph.operators if graph.kind(operator) == "PADV2"]
    return [(graph.name(int(one.inputs[0])), graph.name(int(one.outputs[0])), one) for one in found]


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
