"""Class-per-folder trees: read, split, and refused with the file's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.cli.compose import compose_config
from hwnas.cli.config import register_schemas, to_pipeline_config
from hwnas.data.config import DataDescription, ImageFolderConfig, describe
from hwnas.data.image_folder import FolderParts, read
from hwnas.data.load import load_data
from hwnas.errors import DataError
from hwnas.progress import Progress, no_progress
from tests.data.trees import make_tree


def config(root: Path, **changes: object) -> ImageFolderConfig:
    return ImageFolderConfig(**{"root": str(root), "image_size": 8, "held_out": 6, "workers": 2, **changes})  # type: ignore[arg-type]


def parts(config: ImageFolderConfig, progress: Progress = no_progress) -> FolderParts:
    return read(config, np.random.default_rng(0), progress)


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders(tmp_path: Path, test_name: str) -> None:
    data = load_data(config(make_tree(tmp_path, ("train", test_name))), seed=0, progress=no_progress)
    assert data.classes == ("blue", "green", "red")
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [24, 6, 30]
    assert data.train.shape == (3, 8, 8)
    for part in (data.train, data.held_out, data.test):
        for image, label in zip(part.in_memory().images, part.labels, strict=True):
            bright = image.float().mean(dim=(1, 2)).argmax()
            assert {2: 0, 1: 1, 0: 2}[int(bright)] == int(label)


def test_the_first_images_of_each_part_are_of_all_classes(tmp_path: Path) -> None:
    data = load_data(config(make_tree(tmp_path, ("train", "test"), per_class=20)), seed=0, progress=no_progress)
    for part in (data.train, data.held_out, data.test):
        assert len(part.first(len(part) // 2).labels.unique()) == 3


def test_class_folders_alone_are_split_alike_for_every_seed(tmp_path: Path) -> None:
    root = make_tree(tmp_path, (".",))
    runs = [load_data(config(root, test_share=0.2), seed=seed, progress=no_progress) for seed in (0, 1)]
    for data in runs:
        assert [len(part) for part in (data.train, data.held_out, data.test)] == [18, 6, 6]
        assert data.test.labels.bincount().tolist() == [2, 2, 2]
    assert runs[0].test.in_memory().images.equal(runs[1].test.in_memory().images)
    other = parts(config(root, test_share=0.2, split_seed=1)).test.in_memory().images
    assert other.shape == (6, 3, 8, 8)
    assert not other.equal(runs[0].test.in_memory().images)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    shares: list[float] = []
    parts(config(make_tree(tmp_path, ("train", "test"))), lambda share, _: shares.append(share))
    assert shares
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def broken_train(root: Path) -> str:
    path = root / "train" / "red" / "3.png"
    path.write_bytes(path.read_bytes()[:60])
    return f"image {path} cannot be decoded"


def text_named_jpg(root: Path) -> str:
    path = root / "test" / "green" / "a.jpg"
    path.write_text("no image")
    return f"image {path} cannot be decoded"


def cut_jpeg(root: Path) -> str:
    path = root / "train" / "blue" / "big.jpg"
    Image.effect_noise((200, 200), 80).convert("RGB").save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    return f"image {path} cannot be decoded"


def other_classes(root: Path) -> str:
    (root / "test" / "red").rename(root / "test" / "pink")
    return "only in train/: red; only in test/: pink"


def empty_class(root: Path) -> str:
    for path in (root / "test" / "red").iterdir():
        path.unlink()
    return f"class folder {root / 'test' / 'red'} holds no image"


def no_train(root: Path) -> str:
    (root / "train").rename(root / ".train")
    return "has test/ but no train/"


def no_test(root: Path) -> str:
    (root / "test").rename(root / "holdout")
    return "neither test/ nor val/"


def one_class(root: Path) -> str:
    for name in ("red", "green"):
        (root / "train" / name).rename(root / name)
    return "expected at least two class folders, found 1 (blue); a network tells two classes or more apart"


@pytest.mark.parametrize(
    "spoil", [broken_train, text_named_jpg, cut_jpeg, other_classes, empty_class, no_train, no_test, one_class]
)
def test_a_spoilt_tree_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    says = spoil(make_tree(tmp_path, ("train", "test")))  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        parts(config(tmp_path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*absent; expected a folder with train/"):
        parts(config(tmp_path / "absent"))


def test_too_much_for_memory_is_refused_before_decoding(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"60 images of 512×512 need 45 MiB .*data\.memory_limit_mib=44"):
        parts(config(root, image_size=512, memory_limit_mib=44, in_memory=True))


def test_more_held_out_than_there_is(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"data\.held_out: expected 1 to 29 of 30 images, got 30"):
        load_data(config(root, held_out=30), seed=0, progress=no_progress)


def imagenet(root: Path, **changes: object) -> DataDescription:
    register_schemas()
    composed = to_pipeline_config(compose_config("train", ["data=imagenet", f"data.root={root}"]))
    settings = composed.images
    assert isinstance(settings, ImageFolderConfig)
    return describe(replace(settings, **changes))  # type: ignore[arg-type]


def make_folders(root: Path, train: int, val: int) -> Path:
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            (root / split / f"n{number:08}").mkdir(parents=True)
    return root


def test_imagenet_is_a_thousand_folders_by_name(tmp_path: Path) -> None:
    described = imagenet(make_folders(tmp_path, 1000, 1000))
    assert (described.name, described.channels) == ("imagenet", 3)
    assert described.classes[:2] == ("n00000000", "n00000001")
    mapping = tmp_path / "names.txt"
    mapping.write_text("".join(f"n{number:08} class {number}, of birds\n" for number in range(1000)))
    assert imagenet(tmp_path, class_names=str(mapping)).classes[7] == "class 7, of birds"
    mapping.write_text(json.dumps({f"n{number:08}": f"class {number}" for number in range(1000)}))
    assert imagenet(tmp_path, class_names=str(mapping)).classes[999] == "class 999"


def test_imagenet_of_another_layout_says_how_to_lay_it_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*absent; expected a folder with train/<class>"):
        imagenet(tmp_path / "absent")
    with pytest.raises(DataError, match=r"data=imagenet expects 1000 class folders, found 3 .*data\.class_count=0"):
        imagenet(make_folders(tmp_path / "few", 3, 3))
    assert len(imagenet(tmp_path / "few", class_count=0).classes) == 3
    flat = make_folders(tmp_path / "flat", 1000, 0)
    (flat / "val").mkdir()
    for number in range(5):  # as ILSVRC2012's archive of validation images unpacks
        (flat / "val" / f"ILSVRC2012_val_{number}.JPEG").touch()
    with pytest.raises(DataError, match=r"and 5 images outside of any: move each into the folder of its class"):
        imagenet(flat)


def test_class_names_that_lack_a_folder_are_refused(tmp_path: Path) -> None:
    root = make_folders(tmp_path, 3, 3)
    names = tmp_path / "names.txt"
    names.write_text("n00000000 a\nn00000002 c\n")
    with pytest.raises(DataError, match="names no class for n00000001"):
        imagenet(root, class_count=0, class_names=str(names))
    with pytest.raises(DataError, match=r"data\.class_names=.*absent\.txt cannot be read"):
        imagenet(root, class_count=0, class_names=str(tmp_path / "absent.txt"))


def test_a_small_folder_needs_no_settings(tmp_path: Path) -> None:
    """120 images of three classes: 18 to test on, 15 held out."""
    settings = ImageFolderConfig(root=str(make_tree(tmp_path, (".",), per_class=40)), image_size=8, workers=0)
    data = load_data(settings, seed=0, progress=no_progress)
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [87, 15, 18]
    assert data.held_out.labels.bincount().tolist() == [5, 5, 5]
    assert data.notes == ()
    assert data.summary()["left_out"] == {}


def test_what_is_not_read_and_tiny_classes_are_noted(tmp_path: Path) -> None:
    root = make_tree(tmp_path, (".",))
    for number in range(1, 10):
        (root / "red" / f"{number}.png").unlink(missing_ok=True)
        (root / "red" / f"{number}.JPEG").unlink(missing_ok=True)
    (root / "red" / "readme.txt").write_text("one alone")
    names = tmp_path / ".names.json"
    names.write_text(json.dumps({"blue": "cool", "green": "cool", "red": "warm"}))
    data = load_data(
        ImageFolderConfig(root=str(root), image_size=8, workers=0, class_names=str(names)), 0, progress=no_progress
    )
    assert (data.folders, data.classes) == (("blue", "green", "red"), ("cool", "cool", "warm"))
    assert data.summary()["left_out"] == data.left_out == {".txt": 1}
    assert data.notes == (
        "left out 1 file that is no image: 1 .txt",
        "classes have 1 to 10 images (median 10): the largest 10 times the smallest; balanced accuracy stands beside"
        " accuracy",
        "too few images of red to have one among the held_out images",
        "too few images of red to have one among the test images",
        "classes blue, green are all called 'cool'",
    )
    assert (data.train.labels == 2).sum() == 1


@pytest.mark.parametrize("ending", ["webp", "bmp", "tif", "gif", "ppm", "jp2", "tga", "ico"])
def test_images_of_other_kinds_are_learned_from(tmp_path: Path, ending: str) -> None:
    for number, name in enumerate(("black", "white")):
        (tmp_path / name).mkdir()
        for image in range(6):
            Image.new("RGB", (16, 16), (number * 255,) * 3).save(tmp_path / name / f"{image}.{ending}")
    data = load_data(ImageFolderConfig(root=str(tmp_path), image_size=8, workers=0), 0, progress=no_progress)
    for part in (data.train, data.held_out, data.test):
        assert (part.in_memory().images.float().mean(dim=(1, 2, 3)) > 127).long().equal(part.labels)
