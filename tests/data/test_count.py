"""Images counted beforehand are those that are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from hwnas.data.config import DataConfig, DigitsConfig, FashionMnistConfig, ImageFolderConfig
from hwnas.data.count import count_images
from hwnas.data.load import load_data
from hwnas.progress import no_progress
from tests.data.trees import make_tree


@pytest.mark.parametrize("held_out", [None, 4])
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val", "test"), ("",)])
def test_a_folder(tmp_path: Path, splits: tuple[str, ...], held_out: int | None) -> None:
    check(ImageFolderConfig(root=str(make_tree(tmp_path, splits)), image_size=8, held_out=held_out))


@pytest.mark.parametrize("held_out", [50, 100])
def test_digits(held_out: int) -> None:
    check(DigitsConfig(image_size=8, held_out=held_out))


def test_fashion_mnist() -> None:
    check(FashionMnistConfig())


def check(config: DataConfig) -> None:
    data = load_data(config, 0, no_progress)
    counted = count_images(config)
    assert counted[:3] == tuple(len(data.split(name)) for name in ("train", "held_out", "test"))
    assert counted.held_out_drawn == data.held_out_drawn
    assert counted.calibration == len(data.calibration)
