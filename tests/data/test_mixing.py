"""mixup and CutMix: the shares of a label are those of the image, for any part of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwnas.data.config import AugmentConfig
from hwnas.data.mixing import Mixing

MIXUP, CUTMIX = AugmentConfig(mixup=0.4), AugmentConfig(cutmix=1.0)
BOTH = AugmentConfig(mixup=0.2, cutmix=1.0)
LABELS = torch.arange(64) % 5


def flat_images(count: int = 64, size: int = 20) -> torch.Tensor:
    """Image i is i everywhere: what lies where is read off the pixels."""
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(count, 3, size, size).contiguous()


def mixed(config: AugmentConfig, images: torch.Tensor, seed: int = 0, **part: int) -> tuple[torch.Tensor, torch.Tensor]:
    start = part.get("start", 0)
    labels = LABELS[start : start + len(images)]
    return Mixing(config, 5)(images, labels, np.random.default_rng(seed), **part)


def shares(own: torch.Tensor, count: int) -> torch.Tensor:
    """Labels by hand, from the share of an image's own pixels."""
    expected = torch.zeros(count, 5)
    for place in range(count):
        other = min(place ^ 1, count - 1)
        expected[place, LABELS[place]] += own[place]
        expected[place, LABELS[other]] += 1 - own[place]
    return expected


@pytest.mark.parametrize("size", [20, 7])
def test_cutmix_labels_are_the_shares_of_pixels(size: int) -> None:
    images, labels = mixed(CUTMIX, flat_images(size=size))
    own = (images[:, 0] == torch.arange(64).view(-1, 1, 1)).double().mean(dim=(1, 2))
    others = (images[:, 0] == (torch.arange(64) ^ 1).view(-1, 1, 1)).double().mean(dim=(1, 2))
    assert float((own + others).min()) == 1.0
    assert labels.equal(shares(own.float(), 64))
    assert 0.1 < float(own.mean()) < 0.9
    assert len(own.unique()) > 2 * size // 3
    # What is pasted is one rectangle, where it was in the other image.
    for place in range(64):
        pasted = images[place, 0] != place
        rows, columns = pasted.any(dim=1), pasted.any(dim=0)
        assert int(pasted.sum()) == int(rows.sum()) * int(columns.sum())


def test_mixup_labels_are_the_shares_of_the_blend() -> None:
    images, labels = mixed(MIXUP, flat_images())
    own = 1 - (images[:, 0, 0, 0] - torch.arange(64)).abs()  # neighbours differ by 1
    torch.testing.assert_close(labels, shares(own, 64), atol=1e-5, rtol=0)
    assert float((images - images[..., :1, :1]).abs().max()) == 0
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(64))
    assert len(own.unique()) > 60


def test_either_of_both() -> None:
    images, labels = mixed(BOTH, flat_images())
    blended = ((images != images.round()).flatten(1).any(dim=1)).sum()
    assert 10 < int(blended) < 45
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(64))


def test_the_last_of_an_odd_number_stays() -> None:
    images, labels = mixed(BOTH, flat_images(9))
    assert images[8].equal(flat_images(9)[8])
    assert labels[8].tolist() == torch.eye(5)[LABELS[8]].tolist()


@pytest.mark.parametrize("config", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_parts_of_any_size_are_those_of_the_whole(config: AugmentConfig) -> None:
    images = torch.rand(30, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    whole = mixed(config, images, 7)
    for count in (2, 3, 5, 10):
        for start in range(0, 30, 30 // count):
            part = slice(start, start + 30 // count)
            needed = Mixing.widened(part, 30)
            assert needed.stop - needed.start <= 30 // count + 2
            found = mixed(config, images[needed], 7, of=30, start=needed.start)
            mine = slice(part.start - needed.start, part.stop - needed.start)
            assert found[0][mine].equal(whole[0][part])
            assert found[1][mine].equal(whole[1][part])


def test_the_same_draw_gives_the_same_and_the_images_given_stay() -> None:
    images = flat_images()
    first, again, other = (mixed(BOTH, images, seed) for seed in (3, 3, 4))
    assert images.equal(flat_images())
    assert first[0].equal(again[0])
    assert first[1].equal(again[1])
    assert not first[1].equal(other[1])
