"""An image file as it is to be seen: upright, in colours of 8 bits, nothing transparent. With numpy and Pillow alone.

Training decodes by it, and so does the `run.py` of bundles, into which what follows the mark is copied.
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["as_rgb", "orientation", "read_image", "turned"]

T = TypeVar("T")

# ---- copied into the bundle's run.py from here on ----

ORIENTATION = 0x0112
TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of a grey pixel, as cameras and scanners have them
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # EXIF's types


def read_image(path: Path | str, taken: Callable[[Image.Image], T]) -> T:
    """What `taken` makes of the opened image. Metadata can't spoil it: where they do, they are left out but for the
    orientation. Raises whatever Pillow does for files that are no images or cut short.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            return taken(opened)
    except Exception:  # what cannot be read raises whatever it leads Pillow's plugins to
        found = without_metadata(Path(path).read_bytes())
        if found is None:
            raise
    with Image.open(io.BytesIO(found[0])) as opened:
        opened.info["exif"] = found[1]
        return taken(opened)


def orientation(image: Image.Image) -> int:
    """How an opened image is to be turned, 2 to 8 as EXIF counts; 1, not at all, where nothing valid says so.

    Decodes all but JPEG, whose metadata are known before: TIFF is turned by this, and PNG's may come last.
    """
    if image.format not in ("JPEG", "MPO"):
        keep_orientation_alone(image)
        image.load()
        if hasattr(image, "tag_v2"):
            left = image.getexif().get(ORIENTATION)
            return left if left in TURNS else 1
    exif = image.info.get("exif")
    if exif is None and isinstance(profile := image.info.get("Raw profile type exif"), str):  # ImageMagick's PNGs
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    found = exif_orientation(exif) if isinstance(exif, bytes) else None
    if found is None:
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
        text = xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace")
        match = re.search(rb'tiff:Orientation(?:="|>)([0-9])', text)
        found = int(match[1]) if match else None
    return found if found in TURNS else 1


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """`image` upright; itself where there is nothing to turn."""
    from PIL import Image

    return image.transpose(Image.Transpose[TURNS[orientation]]) if orientation in TURNS else image


def as_rgb(image: Image.Image, background: str = "white", high_byte: bool = False) -> Image.Image:
    """`image` in RGB: `background` behind what is transparent, deep grey pixels by `eight_bits` (`high_byte`: as former
    versions had them). Colours of 16 bits a channel come from Pillow with their high byte.
    """
    from PIL import Image

    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if high_byte and image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image, dtype=np.int64) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode == "F" or image.mode.startswith("I"):
        pixels = eight_bits(np.asarray(image), highest_told(image))
        inverted = getattr(image, "tag_v2", {}).get(262) == 0  # WhiteIsZero, which Pillow heeds in 8 bits alone
        image = Image.fromarray(255 - pixels if inverted else pixels)
    elif image.mode == "LAB":
        from PIL import ImageCms

        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "LAB", "RGB")) or image
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))
    return image.convert("RGB")


def eight_bits(values: NDArray[Any], told: int = 0) -> NDArray[np.uint8]:
    """Grey pixels of any range as 0 to 255, rounded.

    Integers: white is the highest value of 8, 10, 12, 14, 16, 24 or 32 bits, the fewest that hold the image's highest
    and `told`, what its file says of it: cameras' 12 bits are mostly stored in 16 without a word. Floats: white is 1,
    or 255 where any is above 1. Raises ValueError for floats above 255, and for what is below 0 or not a number.
    """
    least, most = values.min(), values.max()
    floats = not np.issubdtype(values.dtype, np.integer)
    if not least >= 0 or not most <= (255 if floats else 2**32):
        kind = "floats of 0 to 1 or of 0 to 255" if floats else "whole numbers of 0 or more"
        raise ValueError(f"expected grey pixels in {kind}, got {least:g} to {most:g}: convert it to 8 or 16 bits")
    if floats:
        white = 1 if most <= 1 else 255
    else:
        white = next(2**bits - 1 for bits in DEPTHS if max(int(most), told) < 2**bits)
    return np.asarray(np.floor(values.astype(np.float64) * 255 / white + 0.5), dtype=np.uint8)


def highest_told(image: Image.Image) -> int:
    """The highest value of a grey pixel that the file speaks of, 0 where it doesn't.

    PNG of 16 bits doesn't: its sBIT chunk says how precise the values are, not how high.
    """
    if image.format in ("PPM", "JPEG2000"):
        return 65535  # Pillow brings them to 16 bits, whatever the file's own
    tags = getattr(image, "tag_v2", {})
    bits, highest = tags.get(258, 16), tags.get(281, 0)  # BitsPerSample, MaxSampleValue
    bits, highest = (value[0] if isinstance(value, tuple) and value else value for value in (bits, highest))
    if isinstance(bits, int) and 8 < bits < 16:
        return int(2**bits - 1)
    return highest if isinstance(highest, int) and 0 < highest < 2**32 else 0


def exif_orientation(exif: bytes) -> int | None:
    """The number under the tag of the orientation; None where it isn't there or not a whole number."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return None
    with contextlib.suppress(struct.error):  # cut short
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(f"{order}HHI", tiff, place)
            if tag == ORIENTATION and kind in INTEGERS and values == 1:
                return int(struct.unpack_from(f"{order}{INTEGERS[kind]}", tiff, place + 8)[0])
    return None


def keep_orientation_alone(image: Image.Image) -> None:
    """Take all other tags from a TIFF, since its decoding would stumble over those that can't be read."""
    if not hasattr(image, "tag_v2"):
        return
    found = image.tag_v2.get(ORIENTATION)
    with contextlib.suppress(Exception):  # as above; the second call gives what could be read
        image.getexif()
    exif = image.getexif()
    for tag in list(exif):
        del exif[tag]
    if found in TURNS:
        exif[ORIENTATION] = found
    for key in ("exif", "xmp", "XML:com.adobe.xmp"):
        image.info.pop(key, None)


def without_metadata(data: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG or PNG file without what is no pixel, and the EXIF bytes that were in it. None for others."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        kept, exif, place = [data[:8]], b"", 8
        while place + 8 <= len(data):
            (length,) = struct.unpack_from(">I", data, place)
            name, end = data[place + 4 : place + 8], place + 12 + length
            if name[:1].isupper() or name == b"tRNS":
                kept.append(data[place:end])
            elif name == b"eXIf":
                exif = data[place + 8 : end - 4]
            place = end
        return (b"".join(kept), exif) if sum(map(len, kept)) < len(data) else None
    if data.startswith(b"\xff\xd8\xff"):
        kept, exif, place = [data[:2]], b"", 2
        while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
            marker, length = struct.unpack_from(">xBH", data, place)
            if marker == 0xDA:  # the pixels
                break
            segment = data[place : place + 2 + length]
            if not (0xE1 <= marker <= 0xEF and marker != 0xEE):  # 0xEE says which colours the channels are
                kept.append(segment)
            elif segment[4:10] == b"Exif\0\0":
                exif += segment[4:]
            place += 2 + length
        kept.append(data[place:])
        return (b"".join(kept), exif) if sum(map(len, kept)) < len(data) else None
    return None
