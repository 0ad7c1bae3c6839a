"""The ranges of a network's tensors, read off real images: what int8's scales are made of."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.export.onnx.quantise import Ranges

__all__ = ["ImageReader", "calibrate"]

_IMAGES_AT_ONCE = 16  # the calibrators keep all activations of these: 20 MiB an image for a MobileNetV3 at 224


def calibrate(model: Any, images: NDArray[np.float32], method: str, percentile: float) -> Ranges:
    """The range of each float tensor of `model` (ModelProto) over `images` `[N, C, H, W]`.

    `method`: `minmax`; `percentile`, which cuts both sides off at one size, so that at most 100 - `percentile` %
    of values exceed it on either; `entropy`, which loses the least information (as in TensorRT).
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(model.SerializeToString())
        calibrator = create_calibrator(
            path,
            augmented_model_path=str(Path(folder) / "observed.onnx"),
            calibrate_method=methods[method],
            extra_options={"symmetric": False},
        )
        name = model.graph.input[0].name
        for start in range(0, len(images), _IMAGES_AT_ONCE):
            calibrator.collect_data(ImageReader(name, images[start : start + _IMAGES_AT_ONCE]))
        if method == "percentile":
            return {name: _cut(found, percentile) for name, found in calibrator.collector.histogram_dict.items()}
        bounds = {
            name: [float(np.ravel(bound)[0]) for bound in found.range_value]
            for name, found in calibrator.compute_data().items()
        }
    return {name: (low, high) for name, (low, high) in bounds.items()}


def _cut(histogram: tuple[Any, ...], percentile: float) -> tuple[float, float]:
    """The range, from counts, their bins' edges, the smallest and the largest value.

    The quantiser's own rule cuts as much off either side, and so off the short negative side of h-swish too.
    """
    counts, edges, smallest, largest, *_ = histogram
    shares = np.cumsum(counts) / counts.sum()
    low, high = np.searchsorted(shares, (1 - percentile / 100, percentile / 100))
    size = float(max(-edges[low], edges[min(high + 1, len(edges) - 1)]))
    return max(float(smallest), -size), min(float(largest), size)


class ImageReader:
    """Images one by one, as the calibrators ask for them."""

    def __init__(self, name: str, images: NDArray[np.float32]) -> None:
        self._inputs: Iterator[dict[str, NDArray[np.float32]]] = ({name: image[None]} for image in images)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._inputs, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self._inputs
