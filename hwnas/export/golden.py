"""A real image with what training's preprocessing makes of it and what the file answers: a bundle's golden pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.decode import decode
from hwnas.data.image_set import LabelledImages
from hwnas.data.preprocess import Preprocessing, prepare
from hwnas.export.config import ExportConfig
from hwnas.export.formats import ModelFormat
from hwnas.export.manifest import GOLDEN_NAME, SAMPLE_NAME
from hwnas.files import atomic_path

__all__ = ["preprocessing_steps", "write_golden"]

_BORDER_SHARE = 0.25
_QUANTISED_SHARE = 0.1
_DEEP_GREY = (
    "grey: round(255 * pixel / white), white being 2^b - 1 of the fewest bits b of 8, 10, 12, 14, 16, 24, 32 that hold"
    " the image's highest pixel and what the file says of it; floats: white is 1, or 255 where a pixel is above 1."
    " Colour: high byte"
)


def write_golden(
    folder: Path,
    model: Path,
    chosen: ModelFormat,
    precision: str,
    images: LabelledImages,
    resolution: int,
    preprocessing: Preprocessing,
    config: ExportConfig,
) -> dict[str, float]:
    """Write `sample.png` and `golden.npz` (`input` in the file's layout, `output`) into `folder`; return tolerances.

    The sample is the first of `images` with a mirrored border, so that cropping is checked as well; what training's own
    code makes of the PNG is the input. The output is the file's.
    """
    pixels = images.first(1).batch(torch.zeros(1, dtype=torch.int64))[0][0].numpy()
    sample = _write_sample(folder / SAMPLE_NAME, pixels, preprocessing.crop_pct)
    stored = decode(sample, pixels.shape[-1], preprocessing.crop_pct)[: len(pixels)]
    prepared = prepare(torch.from_numpy(np.ascontiguousarray(stored))[None], resolution, preprocessing).numpy()
    output = chosen.load_runner(model, 1)(prepared)
    given = prepared.transpose(0, 2, 3, 1) if chosen.layout == "NHWC" else prepared
    with atomic_path(folder / GOLDEN_NAME) as temporary:
        np.savez(temporary, input=np.ascontiguousarray(given), output=output)
    return {
        "input_tolerance": 1 / 255 / min(preprocessing.std),  # one step of a pixel: libraries may round apart
        "output_tolerance": _output_tolerance(precision, output, config),
    }


def preprocessing_steps(preprocessing: Preprocessing, resolution: int, chosen: ModelFormat) -> dict[str, Any]:
    """What `preprocessing.json` holds: the steps from an image file to the input, in order, with all numbers."""
    stored = preprocessing.image_size or resolution
    mode = "L" if len(preprocessing.mean) == 1 else "RGB"
    triangle = "triangle (Pillow's BILINEAR), antialiased: output i is the mean of inputs j, weighted by"
    weights = "max(0, 1 - |j + 0.5 - (i + 0.5) f| / max(f, 1)), f = size before / size after"
    return {
        "dtype": "float32",
        "steps": [
            {"step": "decode", "mode": mode, "exif_orientation": "applied", "transparent": "white",
             "16_bit": _DEEP_GREY},
            {"step": "crop", "where": "centre square", "share_of_shorter_side": preprocessing.crop_pct},
            {"step": "resize", "size": stored, "filter": f"{triangle} {weights}", "rounded_to_uint8": True},
            {"step": "resize_to_input", "size": resolution, "filter": "the same; nothing to do for equal sizes",
             "rounded_to_uint8": False},
            {"step": "normalise", "formula": "(pixels / divide_by - mean) / std, a channel each", "divide_by": 255,
             "mean": list(preprocessing.mean), "std": list(preprocessing.std)},
            {"step": "layout", "order": chosen.layout, "batch": 1},
        ],
    }  # fmt: skip


def _write_sample(path: Path, pixels: NDArray[np.uint8], crop_pct: float) -> Path:
    """`pixels` `[C, S, S]`, grey or RGB, as PNG with a mirrored border: the centre crop is about the image."""
    from PIL import Image

    size = pixels.shape[-1]
    border = min(round((size / crop_pct - size) / 2), size - 1)
    side = min(border + max(1, round(_BORDER_SHARE * size)), size - 1)
    framed = np.pad(pixels.transpose(1, 2, 0), ((border, border), (side, side), (0, 0)), mode="reflect")
    with atomic_path(path) as temporary:
        Image.fromarray(framed[..., 0] if len(pixels) == 1 else framed).save(temporary, format="PNG")
    return path


def _output_tolerance(precision: str, output: NDArray[np.float32], config: ExportConfig) -> float:
    # Other processors have other kernels: float ones sum in another order, quantised ones round other values away.
    if precision in ("fp32", "fp16"):
        return config.parity_tolerance if precision == "fp32" else config.fp16_tolerance
    return max(config.parity_tolerance, _QUANTISED_SHARE * float(np.ptp(output)))
