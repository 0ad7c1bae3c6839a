"""One photograph as uint8 RGB, by Pillow: its centre for evaluation, or a random rectangle for training."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["RandomCrop", "decode", "decode_crop", "require_pillow"]

_ORIENTATION = 0x0112
_CROP_TRIES = 10


@dataclass(frozen=True)
class RandomCrop:
    """A rectangle of a share of the area in `scale`, its width / height in `ratio` (Szegedy et al., 2015)."""

    scale: tuple[float, float]
    ratio: tuple[float, float]

    def box(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Left, top, right and bottom. After ten draws that don't fit, the largest centred one with a fitting ratio."""
        for _ in range(_CROP_TRIES):
            area = width * height * rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h


def decode(path: str | os.PathLike[str], size: int, crop_pct: float = 1.0) -> NDArray[np.uint8]:
    """One image as uint8 RGB `[3, size, size]`: upright, the centre square of `crop_pct` of the shorter side, resized.

    Grey images get three equal channels, 16-bit ones their high byte; what is transparent becomes white. Raises
    DataError that names the file.
    """
    from PIL import Image, ImageOps

    def centre(opened: Image.Image) -> Image.Image:
        # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves the resize enough to average over.
        least = math.ceil(2 * size / crop_pct)
        opened.draft("RGB", (least, least))
        image = _rgb(_upright(opened))
        if crop_pct == 1:
            return ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
        side = crop_pct * min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))

    return _decoded(path, centre)


def decode_crop(
    path: str | os.PathLike[str], size: int, crop: RandomCrop, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One image as uint8 RGB `[3, size, size]`: upright, a random rectangle, resized. Colours and errors: `decode`."""
    from PIL import Image

    def rectangle(opened: Image.Image) -> Image.Image:
        image = opened if opened.getexif().get(_ORIENTATION, 1) == 1 else _upright(opened)
        width, height = image.size
        box = crop.box(width, height, rng)
        if image is opened:  # not turned, and so not decoded yet: JPEG may be decoded smaller
            image.draft("RGB", (width * size // (box[2] - box[0]), height * size // (box[3] - box[1])))
        x, y = image.width / width, image.height / height
        scaled = (box[0] * x, box[1] * y, min(box[2] * x, image.width), min(box[3] * y, image.height))
        return _rgb(image).resize((size, size), Image.Resampling.BILINEAR, box=scaled)

    return _decoded(path, rectangle)


def require_pillow(purpose: str) -> None:
    """Raises MissingExtraError where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Pillow", "train", purpose) from error


def _decoded(path: str | os.PathLike[str], taken: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path) as opened:
            image = taken(opened)
    # Pillow's decoders raise all of these for files that are cut short or no images.
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(
            f"image {os.fspath(path)} cannot be decoded ({error}): replace or remove it, or set data.skip_broken=true"
        ) from error
    planes: NDArray[np.uint8] = np.moveaxis(np.asarray(image), 2, 0)
    return planes


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ImageOps

    # exif_transpose copies the pixels even where there is nothing to turn.
    return image if image.getexif().get(_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)


def _rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")
