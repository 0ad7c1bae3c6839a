"""Images of a set as small picture files, for people to look at."""

from __future__ import annotations

import io
import os

import numpy as np
import torch

from hwnas.data.decode import decode
from hwnas.data.image_set import LabelledImages

__all__ = ["picture"]

_QUALITY = 78


def picture(images: LabelledImages, row: int, size: int, crop_pct: float = 1.0) -> tuple[bytes, str]:
    """The image at `row` of `images.origins`, at most `size` pixels wide: a file's content and its suffix.

    Photos are read of their files again, sharper than they may be stored, and become JPEG; what arrays hold stays as it
    is, as PNG. Raises DataError where a file can't be decoded any more.
    """
    from PIL import Image

    origin = images.origins[row]
    if isinstance(origin, bytes):
        drawn, suffix = np.moveaxis(decode(os.fsdecode(origin), size, crop_pct), 0, 2), ".jpg"
    else:
        pixels, _ = images.batch(torch.tensor([row]))
        drawn, suffix = np.moveaxis(pixels[0].numpy(), 0, 2), ".png"
    image = Image.fromarray(np.ascontiguousarray(drawn[:, :, 0] if drawn.shape[2] == 1 else drawn))
    image.thumbnail((size, size))
    written = io.BytesIO()
    image.save(written, "JPEG" if suffix == ".jpg" else "PNG", quality=_QUALITY, optimize=True)
    return written.getvalue(), suffix
