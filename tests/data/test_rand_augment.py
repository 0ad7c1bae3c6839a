"""RandAugment: each operation by what it does to known pixels, and that a draw is of an image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from hwnas.data.augment import Augmentation
from hwnas.data.config import AugmentConfig
from hwnas.data.rand_augment import OPERATIONS, RandAugment

SIZE = 32
NOISE = torch.randint(0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
SMOOTH = torch.nn.functional.interpolate(NOISE[..., ::8, ::8].float(), (SIZE, SIZE), mode="bilinear").to(torch.uint8)
RAND = AugmentConfig(flip=False, crop_padding=0, rand_operations=2)


def changed(name: str, images: torch.Tensor, *strengths: float) -> torch.Tensor:
    operation = OPERATIONS[name]
    assert operation is not None
    return operation(images, torch.tensor(strengths))


def marked(x: int, y: int, width: int = 4) -> torch.Tensor:
    image = torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8)
    image[..., y - width // 2 : y + width // 2, x - width // 2 : x + width // 2] = 255
    return image


def middle_of(image: torch.Tensor) -> tuple[float, float]:
    """x and y of the mark, from the edge."""
    weights = image[0, 0].double()
    places = torch.arange(SIZE) + 0.5
    return float((weights.sum(0) * places).sum() / weights.sum()), float(
        (weights.sum(1) * places).sum() / weights.sum()
    )


def with_pillow(images: torch.Tensor, change) -> torch.Tensor:  # type: ignore[no-untyped-def]
    done = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        # A mark 6 right of and 8 above the middle; y is down.
        ("translate_x", 0.5, (22 + 7, 8)),  # 150 / 331 × 32 × .5 = 7.25, whole pixels
        ("translate_x", -0.5, (22 - 7, 8)),
        ("translate_y", 1.0, (22, 8 + 15)),
        ("shear_x", 1.0, (22 + 0.3 * 8, 8)),
        ("shear_y", -1.0, (22, 8 + 0.3 * 6)),
        ("rotate", 1.0, (16 + 6 * 0.8660 - 8 * 0.5, 16 - 8 * 0.8660 - 6 * 0.5)),
        ("rotate", -1.0, (16 + 6 * 0.8660 + 8 * 0.5, 16 - 8 * 0.8660 + 6 * 0.5)),
    ],
)
def test_marks_land_where_they_should(name: str, strength: float, expected: tuple[float, float]) -> None:
    found = middle_of(changed(name, marked(22, 8), strength))
    assert found == pytest.approx(expected, abs=0.1)


def test_moving_by_whole_pixels_keeps_them_and_lets_black_in() -> None:
    moved = changed("translate_x", NOISE, 0.3, -0.3, 0.3, -0.3)
    assert moved[0, :, :, 4:].equal(NOISE[0, :, :, :-4])
    assert moved[1, :, :, :-4].equal(NOISE[1, :, :, 4:])
    assert int(moved[0, :, :, :4].max()) == int(moved[1, :, :, -4:].max()) == 0


@pytest.mark.parametrize("images", [NOISE, SMOOTH, SMOOTH // 3 + 60], ids=["noise", "smooth", "narrow"])
@pytest.mark.parametrize(
    ("name", "strength", "change", "tolerance"),
    [
        ("equalize", 0.0, ImageOps.equalize, 0),
        ("autocontrast", 0.0, ImageOps.autocontrast, 1),
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 6), 0),
        ("posterize", 1.0, lambda image: ImageOps.posterize(image, 4), 0),
        ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128), 0),
        ("solarize", -1.0, ImageOps.invert, 0),
        ("brightness", 0.3, lambda image: ImageEnhance.Brightness(image).enhance(1.27), 1),
        ("brightness", -0.3, lambda image: ImageEnhance.Brightness(image).enhance(0.73), 1),
        ("contrast", -0.5, lambda image: ImageEnhance.Contrast(image).enhance(0.55), 2),
        ("colour", 0.5, lambda image: ImageEnhance.Color(image).enhance(1.45), 2),
        ("sharpness", 0.5, lambda image: ImageEnhance.Sharpness(image).enhance(1.45), 2),
        ("sharpness", -1.0, lambda image: Image.blend(image.filter(ImageFilter.SMOOTH), image, 0.1), 2),
    ],
)
def test_colours_are_pillows(images: torch.Tensor, name: str, strength: float, change, tolerance: int) -> None:  # type: ignore[no-untyped-def]
    found = changed(name, images, *[strength] * len(images))
    assert int((found.int() - with_pillow(images, change).int()).abs().max()) <= tolerance


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation is not None])
def test_every_operation_takes_grey_even_and_tiny_images(name: str, channels: int) -> None:
    even = torch.full((2, channels, 8, 8), 77, dtype=torch.uint8)
    for images in (NOISE[:2, :channels], even, NOISE[:2, :channels, :2, :2]):
        found = changed(name, images, 0.3, -0.3)
        assert (found.dtype, found.shape) == (images.dtype, images.shape)
    if name in ("equalize", "autocontrast", "colour", "sharpness", "contrast"):
        assert changed(name, even, 0.3, -0.3).equal(even)


def test_each_image_has_operations_of_its_own() -> None:
    same = SMOOTH[:1].expand(200, -1, -1, -1)
    found = Augmentation(RAND, SIZE)(same, torch.Generator().manual_seed(0))
    assert len(torch.unique(found.flatten(1), dim=0)) > 60  # of 14², in two directions
    chosen, directions = RandAugment(2, 9).draw(10_000, torch.Generator().manual_seed(0))
    assert torch.bincount(chosen.flatten()).tolist() == pytest.approx([20_000 / 14] * 14, rel=0.1)
    assert float(directions.double().mean()) == pytest.approx(0, abs=0.03)


def test_a_part_gets_the_draws_of_its_place_and_the_given_images_stay() -> None:
    images, before = NOISE.repeat(8, 1, 1, 1), NOISE.repeat(8, 1, 1, 1)
    augmentation = Augmentation(RAND, SIZE)
    whole = augmentation(images, torch.Generator().manual_seed(3))
    assert images.equal(before)
    for start in (0, 5, 24):
        part = augmentation(images[start : start + 8], torch.Generator().manual_seed(3), of=32, start=start)
        assert part.equal(whole[start : start + 8])
