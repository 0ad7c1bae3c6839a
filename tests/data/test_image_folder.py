"""Class-per-folder trees: read, split, and refused with the file's name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hwnas.data.config import ImageFolderConfig
from hwnas.data.image_folder import decode, read
from hwnas.data.load import load_data
from hwnas.errors import DataError
from hwnas.progress import no_progress

COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def make_tree(root: Path, splits: tuple[str, ...], per_class: int = 10) -> Path:
    for split in splits:
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(per_class):
                image = Image.new("RGB", (20 + number, 16), colour)
                image.save(folder / (f"{number}.png" if number % 2 else f"{number}.JPEG"))
    return root


def config(root: Path, **changes: object) -> ImageFolderConfig:
    return ImageFolderConfig(**{"root": str(root), "image_size": 8, "held_out": 6, "workers": 2, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders(tmp_path: Path, test_name: str) -> None:
    data = load_data(config(make_tree(tmp_path, ("train", test_name))), seed=0, progress=no_progress)
    assert data.classes == ("blue", "green", "red")
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [24, 6, 30]
    assert data.train.images.shape[1:] == (3, 8, 8)
    for part in (data.train, data.held_out, data.test):
        for image, label in zip(part.images, part.labels, strict=True):
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
    assert runs[0].test.images.equal(runs[1].test.images)
    other = read(config(root, test_share=0.2, split_seed=1), no_progress)[1][0]
    assert other.shape == (6, 3, 8, 8)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    shares: list[float] = []
    read(config(make_tree(tmp_path, ("train", "test"))), lambda share, _: shares.append(share))
    assert shares
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


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
    (root / "test").rename(root / "testing")
    return "neither test/ nor val/"


def one_class(root: Path) -> str:
    for name in ("red", "green"):
        (root / "train" / name).rename(root / name)
    return "expected at least two class folders, found 1 (blue)"


@pytest.mark.parametrize(
    "spoil", [broken_train, text_named_jpg, cut_jpeg, other_classes, empty_class, no_train, no_test, one_class]
)
def test_a_spoilt_tree_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    says = spoil(make_tree(tmp_path, ("train", "test")))  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        read(config(tmp_path), no_progress)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*absent; expected a folder with train/"):
        read(config(tmp_path / "absent"), no_progress)


def test_too_much_for_memory_is_refused_before_decoding(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"60 images of 512×512 need 45 MiB .*data\.memory_limit_mib=44"):
        read(config(root, image_size=512, memory_limit_mib=44), no_progress)


def test_more_held_out_than_there_is(tmp_path: Path) -> None:
    root = make_tree(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"data\.held_out: expected 1 to 29 of 30 images, got 30"):
        load_data(config(root, held_out=30), seed=0, progress=no_progress)
