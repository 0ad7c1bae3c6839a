"""One photograph as uint8 RGB, by Pillow: its centre for evaluation, or a random rectangle for training."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hwnas.data.as_seen import as_rgb, orientation, read_image, turned
from hwnas.data.folders import printable
from hwnas.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "DECODE_RULE",
    "RandomCrop",
    "decode",
    "decode_crop",
    "decode_sized",
    "reason_of",
    "require_pillow",
    "undecodable",
]

DECODE_RULE = 1
"""Raised when what `decode` gives changes: decoded images that are kept are then made anew."""
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

    Grey images get three equal channels, those of more than 8 bits in the range that their pixels are of (see
    `eight_bits`); what is transparent becomes white; of several frames the first is taken. Metadata that can't be read
    are passed over. Raises DataError that names the file.
    """
    return decode_sized(path, size, crop_pct)[0]


def decode_sized(path: str | os.PathLike[str], size: int, crop_pct: float = 1.0) -> tuple[NDArray[np.uint8], int]:
    """As `decode`, and how many pixels of the file the square's side is long."""
    from PIL import Image, ImageOps

    side = 0

    def centre(opened: Image.Image) -> Image.Image:
        nonlocal side
        side = round(crop_pct * min(opened.size))
        # JPEG can be decoded at 1/2, 1/4 or 1/8; twice the size leaves the resize enough to average over.
        least = math.ceil(2 * size / crop_pct)
        opened.draft("RGB", (least, least))
        turn = orientation(opened)
        image = turned(as_rgb(opened), turn)
        if crop_pct == 1:
            return ImageOps.fit(image, (size, size), method=Image.Resampling.BILINEAR)
        shown = crop_pct * min(image.size)
        left, top = (image.width - shown) / 2, (image.height - shown) / 2
        return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + shown, top + shown))

    return _decoded(path, centre), side


def decode_crop(
    path: str | os.PathLike[str], size: int, crop: RandomCrop, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """One image as uint8 RGB `[3, size, size]`: upright, a random rectangle, resized. Colours and errors: `decode`."""
    from PIL import Image

    def rectangle(opened: Image.Image) -> Image.Image:
        turn = orientation(opened)
        image = opened if turn == 1 else turned(as_rgb(opened), turn)
        width, height = image.size
        box = crop.box(width, height, rng)
        if image is opened:  # not turned, and so not decoded yet: JPEG may be decoded smaller
            image.draft("RGB", (width * size // (box[2] - box[0]), height * size // (box[3] - box[1])))
        x, y = image.width / width, image.height / height
        scaled = (box[0] * x, box[1] * y, min(box[2] * x, image.width), min(box[3] * y, image.height))
        return as_rgb(image).resize((size, size), Image.Resampling.BILINEAR, box=scaled)

    return _decoded(path, rectangle)


def require_pillow(purpose: str) -> None:
    """Raises MissingExtraError where Pillow is not installed."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Pillow", "train", purpose) from error


def undecodable(path: str | os.PathLike[str], reason: str) -> DataError:
    """What is raised for the file that can't be decoded."""
    return DataError(
        f"image {printable(path)} cannot be decoded ({reason}): replace or remove it, or set data.skip_broken=true"
    )


def reason_of(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(f"{error}".split()) or type(error).__name__


def _quiet() -> None:
    """No warning of Pillow's for a photograph of more than 89 million pixels; twice as many are an error."""
    from PIL import Image

    if not any(kind is Image.DecompressionBombWarning for _, _, kind, *_ in warnings.filters):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _decoded(path: str | os.PathLike[str], taken: Callable[[Image.Image], Image.Image]) -> NDArray[np.uint8]:
    _quiet()
    try:
        image = read_image(os.fspath(path), taken)
    # Pillow's plugins raise whatever a wrong byte leads them to: TypeError, IndexError, zlib.error, MemoryError …
    except Exception as error:
        raise undecodable(path, reason_of(error)) from error
    planes: NDArray[np.uint8] = np.moveaxis(np.asarray(image), 2, 0)
    return planes
