"""An image file as a network's input, as `preprocessing.json` says: with numpy and Pillow alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwnas.data.as_seen import as_rgb, orientation, read_image, turned

__all__ = ["prepare_file", "takes_image_files"]

# ---- copied into the bundle's run.py from here on ----


def takes_image_files(description: dict[str, Any]) -> bool:
    """Whether preprocessing.json starts at an image file."""
    return any(step["step"] == "decode" for step in description["steps"])


def prepare_file(path: Path | str, description: dict[str, Any]) -> NDArray[np.float32]:
    """The image file as the network's input `[1, …]`, by the steps of preprocessing.json. Needs Pillow."""
    steps = {step["step"]: step for step in description["steps"]}
    pixels = decode(path, steps["decode"], steps["crop"], steps["resize"]["size"])
    image: NDArray[np.floating[Any]] = pixels.astype(np.float32)
    size = steps["resize_to_input"]["size"]
    if image.shape[:2] != (size, size):
        image = (
            triangle_filter(image.shape[0], size) @ image.transpose(2, 0, 1) @ triangle_filter(image.shape[1], size).T
        )
        image = image.transpose(1, 2, 0)
    normalise = steps["normalise"]
    image = (image / np.float32(normalise["divide_by"]) - np.float32(normalise["mean"])) / np.float32(normalise["std"])
    if steps["layout"]["order"] == "NCHW":
        image = image.transpose(2, 0, 1)
    return np.ascontiguousarray(image[None], dtype=np.float32)


def decode(path: Path | str, mode: dict[str, Any], crop: dict[str, Any], size: int) -> NDArray[np.uint8]:
    """The centre square of the upright picture, [size, size, channels]."""
    from PIL import Image

    def centre(opened: Image.Image) -> NDArray[np.uint8]:
        # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves the resize enough to average over.
        least = math.ceil(2 * size / crop["share_of_shorter_side"])
        opened.draft("RGB", (least, least))
        turn = orientation(opened)
        image = turned(as_rgb(opened, mode["transparent"], mode["16_bit"] == "high byte"), turn).convert(mode["mode"])
        side = crop["share_of_shorter_side"] * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))
        return pixels.reshape(size, size, -1)

    return read_image(path, centre)


def triangle_filter(size: int, target: int) -> NDArray[np.float32]:
    """Weights [target, size] that resize one side: Pillow's BILINEAR, antialiased, not rounded."""
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
