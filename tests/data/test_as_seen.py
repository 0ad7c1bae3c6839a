"""Orientation and range of image files, whatever their metadata hold; in training and in the bundles' example alike."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, features

from hwnas.data.as_seen import eight_bits, exif_orientation
from hwnas.data.decode import RandomCrop, decode, decode_crop
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import DataError
from hwnas.export.example.preprocess import decode as example_decode
from hwnas.export.formats import model_format
from hwnas.export.golden import preprocessing_steps

Pixels = NDArray[np.uint8]
SIDE = 32
FINE = {"quality": 97, "subsampling": 0}
KINDS = {"JPEG": FINE, "PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}, "MPO": FINE}


def photo() -> Pixels:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


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


def both(path: Path, size: int = SIDE) -> Pixels:
    """As training decodes it, once it is sure that a bundle's example does the same."""
    found = decode(path, size)
    steps = {each["step"]: each for each in steps_of(size)}
    shown = example_decode(path, steps["decode"], steps["crop"], size)
    np.testing.assert_array_equal(shown.transpose(2, 0, 1), found)
    return found


def steps_of(size: int) -> list[dict[str, object]]:
    steps: list[dict[str, object]] = preprocessing_steps(
        Preprocessing((0.5,) * 3, (0.2,) * 3, size), size, model_format("onnx")
    )["steps"]
    return steps


def ways_round(image: Pixels) -> list[Pixels]:
    turned = [np.rot90(image, quarter, (1, 2)) for quarter in range(4)]
    return [*turned, *(each[:, :, ::-1] for each in turned)]


UPRIGHT = {  # how rows and columns of what is stored become the picture
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
    """A resolution without values, which Pillow stumbles over while it opens the file."""
    tags = struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<HHII", 0x011A, 5, 0, 0)
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
            changed[place] = rng.choice([0, 1, 2, 255, rng.integers(256)])
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


# ---- range --------------------------------------------------------------------------------------------------------


def ramp(highest: int, kind: type = np.uint16) -> NDArray[np.generic]:
    return np.linspace(0, highest, SIDE * SIDE).round().astype(kind).reshape(SIDE, SIDE)


def expected_of(values: NDArray[np.generic], white: float) -> NDArray[np.int64]:
    return np.floor(values.astype(np.float64) * 255 / white + 0.5).astype(np.int64)


@pytest.mark.parametrize("ending", ["png", "tif", "jp2"])
@pytest.mark.parametrize(
    ("highest", "white"),
    [(65535, 65535), (4095, 4095), (3000, 4095), (1023, 1023), (16383, 16383), (40000, 65535), (255, 255)],
)
def test_deep_grey_keeps_its_range(tmp_path: Path, ending: str, highest: int, white: int) -> None:
    values = ramp(highest)
    Image.fromarray(values).save(tmp_path / f"a.{ending}", **({"irreversible": False} if ending == "jp2" else {}))
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
    for extra, white in (({281: 4095}, 4095), ({281: 9}, 1023), ({281: "text"}, 1023)):
        info = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in extra.items():
            info[tag] = value
            if isinstance(value, str):
                info.tagtype[tag] = 2
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
        (lab(plain) if mode == "LAB" else plain.convert(mode)).save(path, **({"lossless": True} if off == 0 else {}))
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
    return ImageCms.applyTransform(image, ImageCms.buildTransform(*profiles, "RGB", "LAB"))


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
