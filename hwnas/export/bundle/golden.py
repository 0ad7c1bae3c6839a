"""A real image with what training's preprocessing makes of it and what the file answers: a bundle's golden pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.decode import decode
from hwnas.data.preprocess import Preprocessing, prepare
from hwnas.export.bundle.manifest import GOLDEN_NAME, SAMPLE_NAME
from hwnas.export.check.compare import allowed
from hwnas.export.check.feed import Feed, NoiseFeed, PixelFeed
from hwnas.export.config import ExportConfig
from hwnas.export.formats import ModelFormat
from hwnas.export.signature import Signature
from hwnas.files import atomic_path

__all__ = ["golden_arrays", "has_sample", "preprocessing_steps", "steps_to_input", "write_golden"]

_PICTURES = (1, 3)

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
    signature: Signature,
    feed: Feed,
    preprocessing: Preprocessing,
    config: ExportConfig,
) -> dict[str, Any]:
    """Write `golden.npz`, and `sample.png` where pictures go in, into `folder`; return tolerances.

    The pair is the first input of `feed`, in the file's layout, and the file's output: `input` and `output`, or of
    several `input.NAME` and `output.NAME` each. `input_tolerance` is None without a sample.
    """
    if has_sample(feed):
        inputs = [_sampled(folder, feed, preprocessing)]
    else:
        inputs = [values.numpy() for values in feed.first()]
    outputs = [given[0] for given in chosen.open(model, 1)(inputs)]
    pairs = zip(signature.inputs, inputs, strict=True)
    arrays = golden_arrays("input", [(port.name, port.to_file(values, chosen.layout)) for port, values in pairs])
    named = [(port.name, values) for port, values in zip(signature.outputs, outputs, strict=True)]
    arrays |= golden_arrays("output", named)
    with atomic_path(folder / GOLDEN_NAME) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # of its options, none is an array's name
    tolerances = {
        port.name: allowed(port, values, _output_tolerance(precision, values, config), port.name == signature.logits)
        for port, values in zip(signature.outputs, outputs, strict=True)
    }
    return {
        # One step of a pixel: libraries may round apart.
        "input_tolerance": 1 / 255 / min(preprocessing.std) if has_sample(feed) else None,
        "output_tolerance": max(tolerances.values()),
        "outputs": tolerances,
    }


def golden_arrays(kind: str, named: Sequence[tuple[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """By their keys in `golden.npz`; `kind` is input or output."""
    return {kind if len(named) == 1 else f"{kind}.{name}": values for name, values in named}


def has_sample(feed: Feed) -> TypeGuard[PixelFeed]:
    """Whether what is fed are pictures that a PNG can hold."""
    return isinstance(feed, PixelFeed) and feed.images.shape[0] in _PICTURES


def _sampled(folder: Path, feed: PixelFeed, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Writes the sample: the first image with a mirrored border, so that cropping is checked as well. What training's
    own code makes of the PNG is the input.
    """
    pixels = feed.images.first(1).batch(torch.zeros(1, dtype=torch.int64))[0][0].numpy()
    sample = _write_sample(folder / SAMPLE_NAME, pixels, preprocessing.crop_pct)
    stored = decode(sample, pixels.shape[-1], preprocessing.crop_pct)[: len(pixels)]
    ready = prepare(torch.from_numpy(np.ascontiguousarray(stored))[None], feed.resolution, preprocessing)
    prepared: NDArray[np.float32] = ready.numpy()
    return prepared


def steps_to_input(
    preprocessing: Preprocessing, signature: Signature, feed: Feed, chosen: ModelFormat
) -> dict[str, Any]:
    """What `preprocessing.json` holds: from an image file, from pixels, or nothing where no image goes in."""
    if has_sample(feed):
        return preprocessing_steps(preprocessing, feed.resolution, chosen)
    inputs = [port.described(chosen.layout) for port in signature.inputs]
    if isinstance(feed, NoiseFeed) and feed.preprocessing is None:
        return {"dtype": inputs[0]["dtype"], "inputs": inputs, "steps": []}
    _, channels, height, width = signature.inputs[0].shape
    pixels = {"step": "pixels", "height": height, "width": width, "channels": channels, "dtype": "uint8"}
    steps = preprocessing_steps(preprocessing, height, chosen)["steps"]
    named = [step for step in steps if step["step"] in ("normalise", "layout")]
    return {"dtype": "float32", "inputs": inputs, "steps": [pixels, *named]}


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
