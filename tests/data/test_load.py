"""Parts and statistics of a loaded data set, on the digits."""

from __future__ import annotations

import pytest
import torch

from hwnas.data.config import DigitsConfig
from hwnas.data.load import ImageData, load_data, pixel_statistics
from hwnas.data.preprocess import Preprocessing
from hwnas.errors import DataError
from hwnas.progress import no_progress
from tests.narrow import images_of


@pytest.fixture(scope="module")
def data() -> ImageData:
    return load_data(DigitsConfig(image_size=16, held_out=200), seed=0, progress=no_progress)


def test_parts(data: ImageData) -> None:
    assert [len(data.split(name)) for name in ("train", "held_out", "test")] == [1238, 200, 359]
    assert images_of(data.train).dtype == torch.uint8
    assert data.train.labels.dtype == torch.int64
    assert images_of(data.train).shape == (1238, 1, 16, 16)
    assert (data.channels, data.image_size, data.classes) == (1, 16, tuple("0123456789"))
    assert data.preprocessing == Preprocessing(data.mean, data.std, 16)
    assert data.summary()["images"] == {"train": 1238, "held_out": 200, "test": 359}
    with pytest.raises(DataError, match="valid: train, held_out, test"):
        data.split("validation")


def test_no_image_is_in_two_parts(data: ImageData) -> None:
    def keys(name: str) -> set[bytes]:
        return {image.numpy().tobytes() for image in images_of(data.split(name))}

    assert not keys("train") & keys("held_out")
    assert not keys("train") & keys("test")


def test_batch_and_first(data: ImageData) -> None:
    images, labels = data.train.batch(torch.tensor([5, 3]))
    assert images.equal(images_of(data.train)[[5, 3]])
    assert labels.equal(data.train.labels[[5, 3]])
    assert len(data.test.first(7)) == 7
    assert len(data.test.first(10_000)) == 359


def test_seed_draws_the_held_out_part_and_leaves_the_test_set(data: ImageData) -> None:
    config = DigitsConfig(image_size=16, held_out=200)
    again, other = (load_data(config, seed=seed, progress=no_progress) for seed in (0, 1))
    assert images_of(again.held_out).equal(images_of(data.held_out))
    assert not images_of(other.held_out).equal(images_of(data.held_out))
    assert images_of(other.test).equal(images_of(data.test))


def test_statistics_are_of_the_training_part(data: ImageData) -> None:
    pixels = images_of(data.train).double() / 255
    assert data.mean[0] == pytest.approx(float(pixels.mean()), abs=1e-12)
    assert data.std[0] == pytest.approx(float(pixels.std(correction=0)), abs=1e-9)


def test_a_constant_channel_can_be_normalised() -> None:
    import numpy as np

    images = np.zeros((4, 2, 8, 8), dtype=np.uint8)
    images[:2, 1] = 255
    mean, std = pixel_statistics([torch.from_numpy(images[:3]), torch.from_numpy(images[3:])])
    assert mean == (0.0, 0.5)
    assert std == (1.0, 0.5)
