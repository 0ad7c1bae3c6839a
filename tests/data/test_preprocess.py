"""One definition of network inputs: against Pillow, and against its own statement followed in numpy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hwnas.data.preprocess import Preprocessing, prepare
from hwnas.errors import DataError

PREPROCESSING = Preprocessing((0.2, 0.5, 0.4), (0.3, 0.25, 0.2), image_size=32)
IMAGES = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def follow_statement(images: np.ndarray, r: int, described: dict[str, list[float]]) -> np.ndarray:
    """The `steps` of `Preprocessing.to_dict`, in numpy alone."""
    size = images.shape[-1]
    x = images.astype(np.float32)
    if size != r:
        f = size / r
        w = max(f, 1)
        i, j = np.arange(r)[:, None], np.arange(size)[None]
        k = np.maximum(0, 1 - np.abs(j + 0.5 - (i + 0.5) * f) / w)
        k /= k.sum(axis=1, keepdims=True)
        x = (k @ x @ k.T).astype(np.float32)
    mean, std = (np.array(described[key], dtype=np.float32)[:, None, None] for key in ("mean", "std"))
    return (x / 255 - mean) / std


@pytest.mark.parametrize("resolution", [32, 28, 24, 20, 16, 11, 40])
def test_the_statement_says_what_prepare_does(resolution: int) -> None:
    described = json.loads(json.dumps(PREPROCESSING.to_dict()))
    prepared = prepare(IMAGES, resolution, PREPROCESSING)
    assert prepared.shape == (5, 3, resolution, resolution)
    assert prepared.dtype == torch.float32
    assert np.abs(prepared.numpy() - follow_statement(IMAGES.numpy(), resolution, described)).max() < 1e-5


@pytest.mark.parametrize("resolution", [24, 20, 40])
def test_within_rounding_of_pillows_bilinear(resolution: int) -> None:
    plain = Preprocessing((0.0,) * 3, (1.0,) * 3)
    prepared = prepare(IMAGES, resolution, plain).numpy() * 255
    for image, ours in zip(IMAGES.numpy(), prepared, strict=True):
        pillow = Image.fromarray(image.transpose(1, 2, 0)).resize((resolution,) * 2, Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(pillow).transpose(2, 0, 1) - ours).max() <= 1.01  # Pillow rounds after each pass


def test_images_are_left_as_they_were_and_rows_are_independent() -> None:
    before = IMAGES.clone()
    whole = prepare(IMAGES, 24, PREPROCESSING)
    assert IMAGES.equal(before)
    assert torch.allclose(prepare(IMAGES[2:3], 24, PREPROCESSING)[0], whole[2], atol=1e-6)


def test_normalised_training_pixels_have_mean_0_and_std_1() -> None:
    pixels = IMAGES.double() / 255
    statistics = Preprocessing(
        tuple(pixels.mean(dim=(0, 2, 3)).tolist()), tuple(pixels.std(dim=(0, 2, 3), correction=0).tolist())
    )
    prepared = prepare(IMAGES, 32, statistics)
    assert prepared.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert (prepared.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


def test_dict_round_trip() -> None:
    assert Preprocessing.from_dict(json.loads(json.dumps(PREPROCESSING.to_dict()))) == PREPROCESSING


@pytest.mark.parametrize("change", [{"rule": 2}, {"rule": None}])
def test_another_rule_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match="preprocessing: expected rule 1"):
        Preprocessing.from_dict({**PREPROCESSING.to_dict(), **change})


@pytest.mark.parametrize(("mean", "std"), [((), ()), ((0.1,), (0.0,)), ((0.1,), (0.1, 0.2))])
def test_impossible_statistics_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="expected mean and std > 0"):
        Preprocessing(mean, std)


@pytest.mark.parametrize("images", [IMAGES.float(), IMAGES[:, :1], IMAGES[0]])
def test_other_tensors_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(DataError, match="prepare: expected uint8 images"):
        prepare(images, 24, PREPROCESSING)
