"""One photograph, decoded for evaluation and for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.data.decode import RandomCrop, decode, decode_crop
from hwnas.errors import DataError


def write(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)  # type: ignore[arg-type]
    return path


def test_decoding_of_other_modes(tmp_path: Path) -> None:
    grey = decode(write(tmp_path / "g.png", np.full((8, 8), 77, np.uint8)), 8)
    assert np.array_equal(grey, np.full((3, 8, 8), 77))
    deep = decode(write(tmp_path / "d.png", np.full((8, 8), 77 * 256 + 3, np.uint16)), 8)
    assert np.array_equal(deep, np.full((3, 8, 8), 77))
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, 4:] = (10, 20, 30, 255)
    seen = decode(write(tmp_path / "a.png", clear), 8)
    assert seen[:, 0, 0].tolist() == [255, 255, 255]
    assert seen[:, 0, 7].tolist() == [10, 20, 30]
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png")
    assert decode(tmp_path / "p.png", 8)[:, 0, 0].tolist() == [9, 8, 7]
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    cmyk.save(tmp_path / "c.jpg")
    assert decode(tmp_path / "c.jpg", 8)[0].mean() > 200


def test_the_centre_is_kept_upright(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert decode(write(tmp_path / "w.png", wide), 8).min() == 200
    half = np.zeros((64, 64, 3), np.uint8)
    half[:32] = 240
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = decode(write(tmp_path / "t.jpg", half, exif=exif, quality=95), 16)
    assert turned[:, :6].max() < 20
    assert turned[:, 10:].min() > 220


def test_large_jpegs_shrink_to_the_mean(tmp_path: Path) -> None:
    checker = np.kron(np.indices((64, 64)).sum(0) % 2, np.ones((8, 8))).astype(np.uint8) * 255
    shrunk = decode(write(tmp_path / "c.jpg", np.repeat(checker[:, :, None], 3, 2), quality=95), 32)
    assert abs(float(shrunk.mean()) - 127) < 3
    assert shrunk.std() < 40


@pytest.mark.parametrize("side", [40, 64, 480])
def test_the_centre_share_is_resize_and_centre_crop(tmp_path: Path, side: int) -> None:
    """As resizing the shorter side to size / crop_pct, 32, and cutting the centre out."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    photo = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "a.png")
    cut = photo.resize((32, 32), Image.Resampling.BILINEAR).crop((2, 2, 30, 30))
    expected = np.asarray(cut, dtype=np.int64).transpose(2, 0, 1)
    inner = np.abs(decode(tmp_path / "a.png", 28, 0.875) - expected)[:, 1:-1, 1:-1]
    assert inner.max() <= 1  # at the border the filter sees no pixels from without
    assert np.abs(decode(tmp_path / "a.png", 28) - expected).max() > 5


def test_random_rectangles_keep_their_share_and_ratio() -> None:
    crop, rng = RandomCrop((0.2, 0.5), (0.75, 4 / 3)), np.random.default_rng(0)
    boxes = np.array([crop.box(500, 375, rng) for _ in range(2000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 500
    assert boxes[:, 3].max() <= 375
    share, ratio = width * height / (500 * 375), width / height
    assert 0.198 < share.min() < 0.21
    assert 0.49 < share.max() < 0.502
    assert share.mean() == pytest.approx(0.35, abs=0.01)
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.02)
    assert 0.74 < ratio.min() < 0.77
    # Wherever it fits: the mean centre is the photograph's.
    assert (boxes[:, 0] + width / 2).mean() == pytest.approx(250, abs=6)


@pytest.mark.parametrize(("width", "height", "expected"), [(1000, 10, 13), (10, 1000, 13)])
def test_a_photograph_that_no_rectangle_fits_gives_its_centre(width: int, height: int, expected: int) -> None:
    left, top, right, bottom = RandomCrop((0.9, 1), (3 / 4, 4 / 3)).box(width, height, np.random.default_rng(0))
    assert {right - left, bottom - top} == {10, expected}
    assert (left + right) / 2 == pytest.approx(width / 2, abs=0.5)
    assert (top + bottom) / 2 == pytest.approx(height / 2, abs=0.5)


def gradient(width: int, height: int) -> np.ndarray:
    across = np.linspace(0, 255, width)[None].repeat(height, 0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return np.stack([across, down, np.full((height, width), 128)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [32, 200])
def test_a_crop_shows_its_rectangle(tmp_path: Path, size: int, orientation: int) -> None:
    """Whether the JPEG is decoded small first (size 32) or whole, turned or not."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = gradient(800, 600) if orientation == 1 else np.rot90(gradient(800, 600)).copy()  # 6: turn clockwise
    path = write(tmp_path / "g.jpg", stored, exif=exif, quality=95)
    crop = RandomCrop((0.2, 0.6), (0.75, 4 / 3))
    shown = decode_crop(path, size, crop, np.random.default_rng(5))
    left, top, right, bottom = crop.box(800, 600, np.random.default_rng(5))
    assert shown.shape == (3, size, size)
    centre = shown[:, size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1].mean(axis=(1, 2))
    assert centre[0] == pytest.approx((left + right) / 2 * 255 / 800, abs=3)
    assert centre[1] == pytest.approx((top + bottom) / 2 * 255 / 600, abs=3)
    assert shown[0, size // 2].astype(int)[-1] - shown[0, size // 2].astype(int)[0] == pytest.approx(
        (right - left) * 255 / 800, abs=10
    )


def test_crops_of_other_modes_and_broken_files(tmp_path: Path) -> None:
    crop, rng = RandomCrop((0.5, 1), (0.75, 4 / 3)), np.random.default_rng(0)
    grey = decode_crop(write(tmp_path / "g.png", np.full((9, 8), 77, np.uint8)), 8, crop, rng)
    assert np.array_equal(grey, np.full((3, 8, 8), 77))
    (tmp_path / "b.jpg").write_text("no image")
    with pytest.raises(DataError, match=r"image .*b\.jpg cannot be decoded .*data\.skip_broken=true"):
        decode_crop(tmp_path / "b.jpg", 8, crop, rng)
