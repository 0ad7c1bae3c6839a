"""Grey pixels of any depth, other colours and several frames; in training and in the bundles' example alike."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, features

from hwnas.data.as_seen import eight_bits
from hwnas.data.decode import decode
from hwnas.errors import DataError
from hwnas.export.bundle.example.preprocess import decode as example_decode
from tests.data.photos import SIDE, both, steps_of
from tests.narrow import present


def ramp(highest: int, kind: type[np.integer[Any]] = np.uint16) -> NDArray[np.integer[Any]]:
    made: NDArray[np.integer[Any]] = np.linspace(0, highest, SIDE * SIDE).round().astype(kind).reshape(SIDE, SIDE)
    return made


def expected_of(values: NDArray[np.integer[Any]] | NDArray[np.floating[Any]], white: float) -> NDArray[np.int64]:
    return np.floor(values.astype(np.float64) * 255 / white + 0.5).astype(np.int64)


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
@pytest.mark.parametrize(
    ("highest", "white"),
    [(65535, 65535), (4095, 4095), (3000, 4095), (1023, 1023), (16383, 16383), (40000, 65535), (255, 255)],
)
def test_deep_grey_keeps_its_range(tmp_path: Path, ending: str, highest: int, white: int) -> None:
    values = ramp(highest)
    options: dict[str, Any] = {"irreversible": False} if ending == "jp2" else {}
    Image.fromarray(values).save(tmp_path / f"a.{ending}", **options)
    white = 65535 if ending == "jp2" else white  # JPEG 2000 tells its depth
    for row in both(tmp_path / f"a.{ending}"):
        np.testing.assert_array_equal(row, expected_of(values, white))


@pytest.mark.parametrize("maximum", [4095, 1000, 65535, 100])
def test_a_pgm_tells_its_maximum(tmp_path: Path, maximum: int) -> None:
    values = ramp(maximum // 2)
    deep = ">u2" if maximum > 255 else "u1"
    (tmp_path / "a.pgm").write_bytes(b"P5 %d %d %d\n" % (SIDE, SIDE, maximum) + values.astype(deep).tobytes())
    assert np.abs(both(tmp_path / "a.pgm")[0] - expected_of(values, maximum)).max() <= 1


def test_a_tiff_tells_its_depth(tmp_path: Path) -> None:
    """12 bits a pixel, packed; a MaxSampleValue; white as zero."""
    values = ramp(2047)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1]).astype(">u4").tobytes()
    packed = b"".join(packed[at + 1 : at + 4] for at in range(0, len(packed), 4))
    tags = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, SIDE), (279, 4, len(packed))]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    (tmp_path / "p.tif").write_bytes(b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + directory + b"\0" * 4)
    np.testing.assert_array_equal(both(tmp_path / "p.tif")[0], expected_of(values, 4095))
    highest_samples: list[tuple[int | str, int]] = [(4095, 4095), (9, 1023), ("text", 1023)]
    for highest, white in highest_samples:
        info = TiffImagePlugin.ImageFileDirectory_v2()
        info[281] = highest
        if isinstance(highest, str):
            info.tagtype[281] = 2
        dark = ramp(1000)
        Image.fromarray(dark).save(tmp_path / "m.tif", tiffinfo=info)
        np.testing.assert_array_equal(both(tmp_path / "m.tif")[0], expected_of(dark, white))
    Image.fromarray(ramp(65535)).save(tmp_path / "w.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "w.tif") as opened:
        stored = opened.tag_v2[262]
    inverted = expected_of(ramp(65535), 65535)
    np.testing.assert_array_equal(both(tmp_path / "w.tif")[0], inverted if stored else 255 - inverted)


def test_floats_are_shares_or_of_eight_bits(tmp_path: Path) -> None:
    shares = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    for values, white in ((shares, 1), (shares * 255, 255), (shares / 2, 1)):
        Image.fromarray(values).save(tmp_path / "f.tif")
        np.testing.assert_array_equal(both(tmp_path / "f.tif")[0], expected_of(values, white))
    for wrong in (shares * 900, shares - 0.5, np.full_like(shares, np.nan)):
        Image.fromarray(wrong).save(tmp_path / "f.tif")
        with pytest.raises(DataError, match=r"f\.tif cannot be decoded \(expected grey pixels in floats of 0 to 1 or"):
            decode(tmp_path / "f.tif", SIDE)
    Image.fromarray(ramp(3000, np.int32) - 1000).save(tmp_path / "i.tif")
    with pytest.raises(DataError, match="expected grey pixels in whole numbers of 0 or more, got -1000 to 2000"):
        decode(tmp_path / "i.tif", SIDE)


def test_black_stays_black() -> None:
    assert eight_bits(np.zeros((2, 2), np.uint16)).max() == 0
    assert eight_bits(np.array([[70000, 0]], np.int32)).tolist() == [[1, 0]]  # of 24 bits


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    colour = (200, 40, 90)
    plain = Image.new("RGB", (SIDE, SIDE), colour)
    for mode, ending, off in (("YCbCr", "tif", 3), ("CMYK", "tif", 1), ("LAB", "tif", 4), ("RGBA", "webp", 0)):
        if mode == "LAB" and not features.check("littlecms2"):
            continue
        path = tmp_path / f"a.{ending}"
        options: dict[str, Any] = {"lossless": True} if off == 0 else {}
        (lab(plain) if mode == "LAB" else plain.convert(mode)).save(path, **options)
        assert np.abs(both(path)[:, 9, 9] - np.array(colour)).max() <= off
    Image.new("1", (SIDE, SIDE), 1).save(tmp_path / "1.png")
    assert both(tmp_path / "1.png").min() == 255
    deep = (np.array(colour, dtype=np.uint16) << 8) + 7  # 16 bits a channel: what Pillow gives
    raw = b"".join(b"\0" + deep.astype(">u2").tobytes() * SIDE for _ in range(SIDE))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert both(tmp_path / "d.png")[:, 9, 9].tolist() == list(colour)


def lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return present(ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB")))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_the_first_is_taken(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (SIDE, SIDE), colour) for colour in ((250, 0, 0), (0, 250, 0))]
    frames[0].save(tmp_path / "a", format=kind, save_all=True, append_images=frames[1:], duration=50)
    found = both(tmp_path / "a")[:, 5, 5]
    assert found[0] > 200
    assert found[1] < 50


def test_bundles_of_former_versions_keep_their_rule(tmp_path: Path) -> None:
    values = ramp(4095)
    Image.fromarray(values).save(tmp_path / "a.png")
    steps = {str(each["step"]): each for each in steps_of(SIDE)}
    former = {**steps["decode"], "16_bit": "high byte"}
    np.testing.assert_array_equal(example_decode(tmp_path / "a.png", former, steps["crop"], SIDE)[..., 0], values >> 8)
