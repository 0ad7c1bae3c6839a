"""Which images are held out: a folder's where there is one, else a share that small classes survive."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.data.config import ImageFolderConfig, describe
from hwnas.data.count import count_images
from hwnas.data.image_stamp import images_stamp
from hwnas.data.load import ImageData, load_data
from hwnas.errors import DataError
from hwnas.progress import no_progress
from tests.data.trees import make_tree

SPLITS = ("train", "val", "test")


def load(root: Path, seed: int = 0, **settings: object) -> ImageData:
    config = ImageFolderConfig(**{"root": str(root), "image_size": 8, "workers": 0, **settings})  # type: ignore[arg-type]
    data = load_data(config, seed, no_progress)
    assert count_images(config)[:3] == tuple(len(data.split(name)) for name in ("train", "held_out", "test"))
    return data


def lengths(data: ImageData) -> list[int]:
    return [len(data.split(name)) for name in ("train", "held_out", "test")]


def make_classes(root: Path, sizes: dict[str, int]) -> Path:
    """Plain images of 8×8, as many of each class."""
    for number, (name, count) in enumerate(sizes.items()):
        (root / name).mkdir(parents=True)
        for image in range(count):
            Image.new("RGB", (8, 8), (number % 256, image % 256, 0)).save(root / name / f"{image}.png")
    return root


@pytest.mark.parametrize("name", ["val", "dev", "Validation", "eval_set"])
def test_val_is_held_out_and_all_of_train_learned_from(tmp_path: Path, name: str) -> None:
    root = make_tree(tmp_path, ("train", name, "test"))
    for path in (root / name).rglob("*.*"):
        Image.new("RGB", (16, 16), (7, 7, 7)).save(path)
    data = load(root)
    assert lengths(data) == [30, 30, 30]
    assert data.held_out.in_memory().images.unique().tolist() == [7]
    assert not (data.train.in_memory().images == 7).all(dim=(1, 2, 3)).any()
    assert data.notes == ()
    assert not data.held_out_drawn
    assert data.calibration is data.train
    assert sorted(data.held_out.first(15).labels.unique().tolist()) == [0, 1, 2]
    other = load(root, seed=1)
    assert other.held_out.labels.equal(data.held_out.labels)
    assert not other.train.labels.equal(data.train.labels)


def test_a_number_draws_from_train(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SPLITS)
    data = load(root, held_out=6)
    assert lengths(data) == [24, 6, 30]
    assert data.notes == ("data.held_out=6 images are drawn from train/, and val/ is not read",)
    assert data.held_out_drawn
    assert data.calibration is data.held_out


def test_train_and_val_alone_stay_training_and_test(tmp_path: Path) -> None:
    assert lengths(load(make_tree(tmp_path, ("train", "val")))) == [26, 4, 30]


def test_classes_that_val_lacks_are_told(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SPLITS)
    for path in (root / "val" / "red").iterdir():
        path.unlink()
    data = load(root)
    assert data.images_by_class()["held_out"] == [10, 10, 0]
    assert data.notes == (
        "val/ has images of 2 of 3 classes: how well the other 1 (red) are told is not seen on held-out images",
    )
    (root / "val" / "red").rmdir()
    assert load(root).images_by_class()["held_out"] == [10, 10, 0]
    assert describe(ImageFolderConfig(root=str(root))).classes == ("blue", "green", "red")


def test_a_val_of_one_image_is_refused(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ("train", "test"))
    (root / "val" / "red").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "val" / "red" / "1.png")
    with pytest.raises(DataError, match=r"2 held out, got 30 and 1: add images, or set data\.held_out") as caught:
        load(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["train", "test"])
def test_an_image_of_val_and_of_another_split_is_refused(tmp_path: Path, other: str) -> None:
    root = make_tree(tmp_path, SPLITS)
    os.link(root / other / "red" / "1.png", root / "val" / "red" / "again.png")
    with pytest.raises(DataError, match=rf"1 images are in both .*/{other} and .*/val, such as .*set data\.held_out"):
        load(root)
    assert len(load(root, held_out=6).held_out) == 6


def test_the_stamp_changes_with_val_where_it_is_read(tmp_path: Path) -> None:
    root = make_tree(tmp_path, SPLITS)
    config = {held: ImageFolderConfig(root=str(root), held_out=held) for held in (None, 6)}
    before = {held: images_stamp(each) for held, each in config.items()}
    assert (before[None]["images"], before[6]["images"]) == (90, 60)
    (root / "val" / "red" / "0.JPEG").unlink()
    after = {held: images_stamp(each) for held, each in config.items()}
    assert after[6] == before[6]
    assert after[None]["sha256"] != before[None]["sha256"]


def test_a_thousand_classes_of_three_images(tmp_path: Path) -> None:
    make_classes(tmp_path / "all", {f"c{number:03}": 3 for number in range(1000)})
    data = load(tmp_path / "all", in_memory=False, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert lengths(data) == [1700, 300, 1000]
    assert min(data.images_by_class()["train"]) == 1
    held = np.flatnonzero(data.images_by_class()["held_out"])
    assert len(held) == 300
    assert 400 < held.mean() < 600  # of all the alphabet


def test_a_thousand_classes_of_three_images_with_a_test_set(tmp_path: Path) -> None:
    make_classes(tmp_path / "train", {f"c{number:03}": 3 for number in range(1000)})
    make_classes(tmp_path / "test", {f"c{number:03}": 1 for number in range(1000)})
    data = load(tmp_path, in_memory=False, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert lengths(data) == [2000, 1000, 1000]
    assert set(data.images_by_class()["held_out"]) == {1}


def test_classes_of_one_image_are_learned_from_alone(tmp_path: Path) -> None:
    data = load(make_classes(tmp_path, {"a": 20, "b": 20, "c": 1, "d": 1}))
    assert data.images_by_class()["train"][2:] == [1, 1]
    assert data.images_by_class()["held_out"][2:] == data.images_by_class()["test"][2:] == [0, 0]
    assert data.notes[0] == (
        "classes have 1 to 20 images (median 10.5): the largest 20 times the smallest; balanced accuracy stands beside"
        " accuracy"
    )
    assert data.notes[1:] == (
        "too few images of c, d to have one among the held_out images",
        "too few images of c, d to have one among the test images",
    )


def test_nothing_but_classes_of_one_image_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.test_share: 3 images, one a class, cannot be divided") as caught:
        load(make_classes(tmp_path, {"a": 1, "b": 1, "c": 1}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("sizes", "said"), [((10, 29), ""), ((10, 30), "3 times"), ((4, 15), "3.8 times")])
def test_imbalance_is_told_from_three_times_on(tmp_path: Path, sizes: tuple[int, int], said: str) -> None:
    notes = " ".join(load(make_classes(tmp_path, dict(zip("ab", sizes, strict=True)))).notes)
    assert (f"the largest {said} the smallest" in notes) == bool(said)
    assert bool(notes) == bool(said)
