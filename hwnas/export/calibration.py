"""The real images that quantised files read the ranges of activations off."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.data.image_set import LabelledImages
from hwnas.data.inputs import network_inputs
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import ExportError

__all__ = ["calibration_images"]

_BATCH = 256
_BLANK_SHARE = 0.5


def calibration_images(
    images: LabelledImages, count: int, resolution: int, preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """The first `count` of `images`, prepared: float32 `[count, C, r, r]`.

    Raises ExportError where there are fewer, or where more than half of them are blank (every pixel alike): ranges
    read off those would clip whatever real images hold.
    """
    if len(images) < count:
        raise ExportError(
            f"export.calibration_images: expected {count} images to calibrate on, the data have {len(images)} to train"
            f" on; give more images, or export.calibration_images={len(images)}"
        )
    batches = [batch for batch, _ in network_inputs(images.first(count), resolution, preprocessing, _BATCH)]
    prepared = torch.cat(batches).contiguous()
    channels = prepared.flatten(2)
    blank = int((channels.amax(2) == channels.amin(2)).all(1).sum())
    if blank > _BLANK_SHARE * len(prepared):
        raise ExportError(
            f"export: {blank} of {len(prepared)} images to calibrate on are blank (one colour all over); expected"
            " pictures such as the network will see: look at the data's training images"
        )
    result: NDArray[np.float32] = prepared.numpy()
    return result
