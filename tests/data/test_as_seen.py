"""The orientation of image files, whatever else their metadata hold; in training and in the bundles' example alike."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hwnas.data.as_seen import exif_orientation
from hwnas.data.decode import RandomCrop, decode, decode_crop
from hwnas.errors import DataError
from tests.data.photos import SIDE, Pixels, both, photo

FINE = {"quality": 97, "subsampling": 0}
KINDS: dict[str, dict[str, Any]] = {"JPEG": FINE, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "MPO": FINE}


def exif_with(orientation: object = 6) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0132], exif[0x011A], exif[0x0128] = "maker", "2020:01:01 00:00:00", 72.0, 2
    if orientation is not None:
        exif[0x0112] = orientation
    exif[0x8769], exif[0x8825] = {0x9003: "2021:02:02 00:00:00"}, {2: (1.0, 2.0, 3.0)}
    return exif


def encoded(kind: str, orientation: object = 6) -> bytes:
    held = io.BytesIO()
    if kind == "TIFF":
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in exif_with(orientation).items():
            info[tag] = value
        Image.fromarray(photo()).save(held, format=kind, tiffinfo=info)
    else:
        Image.fromarray(photo()).save(held, format=kind, exif=exif_with(orientation), **KINDS[kind])
    return held.getvalue()


def ways_round(image: Pixels) -> list[Pixels]:
    turned = [np.rot90(image, quarter, (1, 2)) for quarter in range(4)]
    return [*turned, *(each[:, :, ::-1] for each in turned)]


UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {  # how rows and columns of what is stored become the picture
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "MPO"])
def test_every_orientation_is_applied(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    for orientation, upright in UPRIGHT.items():
        path.write_bytes(encoded(kind, orientation))
        expected = upright(photo()).transpose(2, 0, 1).astype(int)
        lossy = 12 if kind in ("JPEG", "MPO") else 0
        assert np.abs(both(path) - expected).max() <= lossy
        whole = RandomCrop((1, 1), (1, 1))
        assert np.abs(decode_crop(path, SIDE, whole, np.random.default_rng(0)) - expected).max() <= lossy


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", [0, 9, 65535, None])
def test_what_is_no_orientation_turns_nothing(tmp_path: Path, kind: str, value: object) -> None:
    path = tmp_path / "a"
    path.write_bytes(encoded(kind, value))
    found = both(path)
    path.write_bytes(encoded(kind, 1))
    np.testing.assert_array_equal(found, both(path))


def entry(kind: int, count: int, value: bytes, order: str = "<") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}IHHHI", 8, 1, 0x0112, kind, count) + value.ljust(4, b"\0") + b"\0" * 4


@pytest.mark.parametrize(
    ("exif", "expected"),
    [
        (entry(3, 1, b"\6\0"), 6),
        (entry(3, 1, b"\0\6", ">"), 6),
        (b"Exif\0\0" + entry(4, 1, b"\6\0\0\0"), 6),
        (entry(1, 1, b"\6"), 6),
        (entry(3, 2, b"\6\0\6\0"), None),
        (entry(2, 2, b"6\0"), None),  # text
        (entry(5, 1, b"\xff\xff\xff\xff"), None),
        (entry(99, 1, b"\6\0"), None),
        (entry(3, 1, b"\6\0")[:14], None),
        (b"II*\0\xff\xff\xff\xff", None),
        (b"", None),
        (b"nonsense", None),
    ],
)
def test_the_orientation_is_read_by_itself(exif: bytes, expected: int | None) -> None:
    assert exif_orientation(exif) == expected


def test_tags_beside_it_do_not_matter(tmp_path: Path) -> None:
    """A resolution of one byte, which Pillow stumbles over while it opens the file."""
    tags = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x011A, 1, 1, 72)
    tags += struct.pack("<HHII", 0x0128, 3, 1, 2)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 3) + tags + b"\0" * 4
    held = io.BytesIO()
    Image.fromarray(photo()).save(held, format="JPEG", **FINE)
    data = held.getvalue()
    path = tmp_path / "a.jpg"
    # No JFIF header, in which the resolution would be looked for first.
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[20:])
    assert np.abs(both(path) - np.rot90(photo(), -1).transpose(2, 0, 1).astype(int)).max() <= 12


def test_a_checksum_of_metadata_spoils_no_png(tmp_path: Path) -> None:
    data = encoded("PNG")
    place = data.index(b"eXIf")
    path = tmp_path / "a.png"
    path.write_bytes(data[: place + 20] + bytes([data[place + 20] ^ 1]) + data[place + 21 :])
    np.testing.assert_array_equal(both(path), np.rot90(photo(), -1).transpose(2, 0, 1))
    clear = np.dstack([photo(), np.zeros((SIDE, SIDE), np.uint8)])
    Image.fromarray(clear).save(path)
    data = path.read_bytes()
    text = b"tEXt" + b"a\0b"
    chunk = struct.pack(">I", 3) + text + struct.pack(">I", zlib.crc32(text) ^ 1)
    path.write_bytes(data[:33] + chunk + data[33:])
    assert both(path).min() == 255


def mutations(data: bytes, count: int, first: int, last: int) -> Iterator[bytes]:
    rng = np.random.default_rng(len(data))
    for _ in range(count):
        changed = bytearray(data)
        for place in rng.integers(first, last, rng.integers(1, 7)):
            changed[place] = rng.choice([0, 1, 2, 255, int(rng.integers(256))])
        yield bytes(changed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_mutated_metadata_leave_the_pixels(tmp_path: Path, kind: str) -> None:
    """750 files each: what isn't pixels is altered, wherever it stands."""
    data, path = encoded(kind), tmp_path / "a"
    path.write_bytes(data)
    allowed = ways_round(decode(path, SIDE))
    if kind == "TIFF":  # its own tags say where the pixels are: those of the EXIF within
        spans = [
            (data.index(text) - back, data.index(text) + 20) for text, back in ((b"2021:02:02", 40), (b"maker", 0))
        ]
    else:
        start = data.index(exif_with().tobytes()[6:])
        spans = [(start, start + len(exif_with().tobytes()) - 6)]
    for first, last in spans:
        for changed in mutations(data, 750 // len(spans), first, last):
            path.write_bytes(changed)
            found = both(path)
            assert any(np.array_equal(found, each) for each in allowed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_mutated_files_are_images_or_named(tmp_path: Path, kind: str) -> None:
    """750 files each: their first 300 bytes altered."""
    path = tmp_path / "named.img"
    data = encoded(kind)
    crop, rng = RandomCrop((0.2, 1), (0.75, 4 / 3)), np.random.default_rng(0)
    said = []
    for number, changed in enumerate(mutations(data, 750, 0, min(300, len(data)))):
        path.write_bytes(changed if number % 3 else changed[: rng.integers(len(data))])
        try:
            assert decode(path, 8).shape == decode_crop(path, 8, crop, rng).shape == (3, 8, 8)
        except DataError as error:
            said.append(str(error))
    assert 0 < len(said) < 750
    assert all("named.img cannot be decoded (" in each and "\n" not in each for each in said)
