"""Predictions as CSV files: what is written is read again, whatever classes and files are called."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.data.config import AugmentConfig
from hwnas.data.image_set import ImageSet
from hwnas.data.load import ImageData
from hwnas.errors import StorageError
from hwnas.export.check.predict import Predictions
from hwnas.pipeline.predictions import (
    class_labels,
    find_pictures,
    read_predictions,
    write_pictures,
    write_predictions,
)
from hwnas.report.predicted import predicted_of, shown_images

NAMES = ('a, "b"', "中文", "same", "same", " x\n")
FOLDERS = ("a", "b", "n1", "n2", "x")


def data_of(origins: np.ndarray | None = None, channels: int = 1, size: int = 28) -> ImageData:
    pixels = torch.arange(10, dtype=torch.uint8)[:, None, None, None].repeat(1, channels, size, size) * 20
    images = ImageSet(pixels, torch.arange(10) % 5, origins)
    return ImageData("made", images, images, images, NAMES, (0.5,), (0.2,), AugmentConfig(), folders=FOLDERS)


def answers() -> Predictions:
    labels = np.arange(10) % 5
    return Predictions(labels, np.roll(labels, 1), np.linspace(0.2, 1, 10))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    data = data_of(np.array([f"/t/{n}, é \udcff.jpg".encode("utf-8", "surrogateescape") for n in range(10)]))
    assert class_labels(data) == ('a, "b"', "中文", "same (n1)", "same (n2)", " x\n")
    found = answers()
    files = write_predictions(tmp_path, {"local-litert-tight": found}, data)
    assert files == {"local-litert-tight": "predictions/local-litert-tight.csv"}
    path = tmp_path / files["local-litert-tight"]
    read = read_predictions(path, class_labels(data))
    assert read["image"][3] == "/t/3, é \\xff.jpg"
    assert read["label"] == found.labels.tolist()
    assert read["predicted"] == found.predicted.tolist()
    assert read["probability"] == pytest.approx(found.probability.tolist(), abs=1e-6)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "label", "predicted", "probability"]
    assert rows[2]["label"] == "same (n1)"


@pytest.mark.parametrize("torn", ["", "image,label\n", "image,label,predicted,probability\n", "CUT", "FOREIGN"])
def test_other_files_are_refused_in_one_line(tmp_path: Path, torn: str) -> None:
    data = data_of()
    path = tmp_path / write_predictions(tmp_path, {"t": answers()}, data)["t"]
    whole = path.read_text(encoding="utf-8")
    path.write_text({"CUT": whole[: len(whole) - 40], "FOREIGN": whole.replace("中文", "other")}.get(torn, torn))
    with pytest.raises(StorageError, match="hwnas validate") as caught:
        read_predictions(path, class_labels(data))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("channels", "size", "shown"), [(1, 28, 28), (3, 224, 96)])
def test_pictures_of_arrays(tmp_path: Path, channels: int, size: int, shown: int) -> None:
    from PIL import Image

    data = data_of(channels=channels, size=size)
    write_pictures(tmp_path, write_predictions(tmp_path, {"t": answers()}, data), data)
    pictures = find_pictures(tmp_path, [str(number) for number in range(12)])
    assert set(pictures) == {str(number) for number in range(10)}
    image = Image.open(pictures["7"])
    assert (image.size, image.mode) == ((shown, shown), "L" if channels == 1 else "RGB")
    assert np.unique(np.asarray(image)).tolist() == [140]


def test_every_image_that_the_report_shows_has_its_picture(tmp_path: Path) -> None:
    """Though a file holds fewer digits of probabilities than the runtime gave, and their order differs by it."""
    labels = np.arange(4000) % 5
    pixels = torch.zeros(4000, 1, 8, 8, dtype=torch.uint8)
    images = ImageSet(pixels, torch.from_numpy(labels))
    data = ImageData("made", images, images, images, NAMES, (0.5,), (0.2,), AugmentConfig(), folders=FOLDERS)
    rng = np.random.default_rng(0)
    for wrong in (0.02, 0.5):
        answered = np.where(rng.random(4000) < wrong, rng.integers(0, 5, 4000), labels)
        near_one = 1 - 1e-6 * rng.random(4000)
        files = write_predictions(tmp_path, {"t": Predictions(labels, answered, near_one)}, data)
        write_pictures(tmp_path, files, data)
        read = read_predictions(tmp_path / files["t"], class_labels(data))
        (one,) = predicted_of([read], 5)
        shown = [one.images[row] for row in shown_images([one])]
        assert len(shown) > 10
        assert set(find_pictures(tmp_path, shown)) == set(shown)
