"""Augmentation: what it may change, that it repeats, and that it leaves the global generator alone."""

from __future__ import annotations

import pytest
import torch

from hwnas.data.augment import Augmentation
from hwnas.data.config import AugmentConfig

IMAGES = torch.randint(1, 256, (64, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def augmented(config: AugmentConfig, seed: int = 0, images: torch.Tensor = IMAGES) -> torch.Tensor:
    return Augmentation(config, images.shape[-1])(images, torch.Generator().manual_seed(seed))


def test_flip_mirrors_about_half() -> None:
    changed = augmented(AugmentConfig(flip=True, crop_padding=0))
    mirrored = [bool(new.equal(old.flip(-1))) for old, new in zip(IMAGES, changed, strict=True)]
    kept = [bool(new.equal(old)) for old, new in zip(IMAGES, changed, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 16 <= sum(mirrored) <= 48


def test_crop_moves_each_image_by_its_own_whole_pixels() -> None:
    changed = augmented(AugmentConfig(flip=False, crop_padding=3))
    padded = torch.nn.functional.pad(IMAGES, (3, 3, 3, 3))
    found = set()
    for old, new in zip(padded, changed, strict=True):
        places = [(y, x) for y in range(7) for x in range(7) if old[:, y : y + 16, x : x + 16].equal(new)]
        assert len(places) == 1
        found.add(places[0])
    assert len(found) > 20  # of 49, in 64 draws


def test_erasing_blackens_a_rectangle_in_its_share_of_images() -> None:
    changed = augmented(AugmentConfig(flip=False, crop_padding=0, erase_probability=0.5))
    share = (changed == 0).all(dim=1).float().mean(dim=(1, 2))
    assert 16 <= int((share > 0).sum()) <= 48
    assert float(share.max()) <= 0.25
    assert changed[share == 0].equal(IMAGES[share == 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_same_generator_state_same_batch_and_the_next_differs(channels: int) -> None:
    config = AugmentConfig(erase_probability=0.3)
    images = IMAGES[:, :channels]
    first, again = augmented(config, 5, images), augmented(config, 5, images)
    assert first.equal(again)
    assert first.dtype == torch.uint8
    assert first.shape == images.shape
    generator = torch.Generator().manual_seed(5)
    augmentation = Augmentation(config, 16)
    assert augmentation(images, generator).equal(first)
    assert not augmentation(images, generator).equal(first)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    augmented(AugmentConfig())
    assert torch.rand(3).equal(expected)


def test_nothing_to_do_returns_the_images() -> None:
    assert augmented(AugmentConfig(flip=False, crop_padding=0)) is IMAGES


def test_a_part_of_a_batch_gets_the_draws_of_its_place() -> None:
    config = AugmentConfig(erase_probability=0.3, brightness=0.3, saturation=0.4)
    augmentation = Augmentation(config, 16)
    whole = augmentation(IMAGES, torch.Generator().manual_seed(3))
    for start in (0, 16, 48):
        part = augmentation(IMAGES[start : start + 16], torch.Generator().manual_seed(3), of=64, start=start)
        assert part.equal(whole[start : start + 16])


def test_brightness_is_a_factor_an_image() -> None:
    dim = (IMAGES // 2).clamp(min=20)
    changed = augmented(AugmentConfig(flip=False, crop_padding=0, brightness=0.4), images=dim)
    ratios = changed.float().mean(dim=(1, 2, 3)) / dim.float().mean(dim=(1, 2, 3))
    assert 0.6 <= float(ratios.min()) < 0.7
    assert 1.3 < float(ratios.max()) <= 1.401
    assert float((changed.float() - dim * ratios.view(-1, 1, 1, 1)).abs().max()) < 1.5


def test_saturation_keeps_the_grey_and_contrast_the_mean() -> None:
    middle = IMAGES // 4 + 96  # far from black and white, so that nothing is cut off
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)

    def grey(images: torch.Tensor) -> torch.Tensor:
        return (images * weights).sum(dim=1)

    saturated = augmented(AugmentConfig(flip=False, crop_padding=0, saturation=0.5), images=middle)
    assert float((grey(saturated) - grey(middle)).abs().max()) < 1
    spread = saturated.float().std(dim=1).mean(dim=(1, 2)) / middle.float().std(dim=1).mean(dim=(1, 2))
    assert float(spread.min()) < 0.65
    assert float(spread.max()) > 1.35
    contrasted = augmented(AugmentConfig(flip=False, crop_padding=0, contrast=0.5), images=middle)
    assert float((grey(contrasted).mean(dim=(1, 2)) - grey(middle).mean(dim=(1, 2))).abs().max()) < 0.5
    stretch = grey(contrasted).std(dim=(1, 2)) / grey(middle).std(dim=(1, 2))
    assert float(stretch.min()) < 0.65
    assert float(stretch.max()) > 1.35


def test_colours_of_one_channel() -> None:
    changed = augmented(AugmentConfig(flip=False, crop_padding=0, saturation=0.5), images=IMAGES[:, :1])
    assert changed.equal(IMAGES[:, :1])
