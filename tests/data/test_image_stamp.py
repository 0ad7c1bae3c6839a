"""The stamp of a folder of images: changes with what is read of it, and with nothing else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwnas.data.config import ImageFolderConfig
from hwnas.data.image_stamp import images_stamp
from tests.data.trees import touch


def stamp(root: Path | str, **settings: Any) -> dict[str, Any]:
    found = images_stamp(ImageFolderConfig(root=str(root), **settings))
    assert json.loads(json.dumps(found)) == found
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """cat and dog as folders, emu as a link to one, fox of links to files."""
    root = touch(tmp_path / "data", *(f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(4)))
    store = touch(tmp_path / "store", *(f"emu/{number}.jpg" for number in range(4)), "f1.jpg", "f2.jpg")
    (root / "emu").symlink_to(store / "emu")
    (root / "fox").mkdir()
    for name in ("f1.jpg", "f2.jpg"):
        (root / "fox" / name).symlink_to(store / name)
    return root


def test_the_stamp_counts_what_is_read(root: Path) -> None:
    found = stamp(root)
    paths = [*root.rglob("*.jpg"), *(root.parent / "store" / "emu").glob("*.jpg")]
    assert (found["images"], found["classes"]) == (14, ["cat", "dog", "emu", "fox"])
    assert found["bytes"] == sum(path.stat().st_size for path in paths)


def move_between_classes(root: Path) -> None:
    (root / "cat" / "0.jpg").rename(root / "dog" / "9.jpg")


def swap_class_folders(root: Path) -> None:
    for before, after in (("cat", "x"), ("dog", "cat"), ("x", "dog")):
        (root / before).rename(root / after)


def rename_class(root: Path) -> None:
    (root / "emu").rename(root / "ant")


def delete_behind_link(root: Path) -> None:
    (root / "emu" / "0.jpg").unlink()


def add_behind_link(root: Path) -> None:
    touch(root, "emu/9.jpg")


def alter_behind_link(root: Path) -> None:
    path = (root / "fox" / "f1.jpg").resolve()
    path.write_bytes(path.read_bytes()[::-1])  # as many bytes, but at another time
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1))


def relink(root: Path) -> None:
    (root / "fox" / "f2.jpg").unlink()
    (root / "fox" / "f2.jpg").symlink_to(touch(root.parent, "store/other.jpg") / "store" / "other.jpg")


def make_a_test_set(root: Path) -> None:
    for split in ("train", "test"):
        (root.parent / split).mkdir()
        for name in ("cat", "dog", "emu", "fox"):
            touch(root.parent / split, f"{name}/{split}.jpg")
    root.rename(root.parent / "old")
    root.mkdir()
    for split in ("train", "test"):
        (root.parent / split).rename(root / split)


@pytest.mark.parametrize(
    "change",
    [
        move_between_classes, swap_class_folders, rename_class, delete_behind_link, add_behind_link, alter_behind_link,
        relink, make_a_test_set,
    ],
)  # fmt: skip
def test_the_stamp_changes_with_what_is_read(root: Path, change: Callable[[Path], None]) -> None:
    before = stamp(root)
    change(root)
    assert stamp(root)["sha256"] != before["sha256"]


def test_the_split_is_part_of_it(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{name}/{split}.jpg" for split in ("train", "test") for name in ("a", "b")))
    before = stamp(tmp_path)["sha256"]
    (tmp_path / "train").rename(tmp_path / "Training")
    assert stamp(tmp_path)["sha256"] == before
    (tmp_path / "Training").rename(tmp_path / "x")
    (tmp_path / "test").rename(tmp_path / "train")
    (tmp_path / "x").rename(tmp_path / "test")
    assert stamp(tmp_path)["sha256"] != before


def test_the_stamp_stays_with_the_spelling_and_with_what_is_not_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stamp(root)
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for spelled in (f"{root}/", f"{root}/../data", "data", "./data//", tmp_path / "link", "link/"):
        assert stamp(spelled) == before
    touch(root, "cat/.DS_Store", "dog/Thumbs.db", "emu/README.md", "README", "cat/.ipynb_checkpoints/0.jpg")
    (root / "cat" / "broken.jpg").symlink_to("nowhere")
    (root / "cat" / "again.jpg").symlink_to("0.jpg")
    (root / "dog" / "up").symlink_to("..")
    assert stamp(root) == before
    assert stamp(root, workers=3, image_size=64) == before


def test_names_count_and_not_their_file(root: Path, tmp_path: Path) -> None:
    names = touch(tmp_path, "names.txt") / "names.txt"
    names.write_text("cat Cat\ndog Dog\nemu Emu\nfox Fox\n")
    before = stamp(root, class_names=str(names))
    assert before["names"] == ["Cat", "Dog", "Emu", "Fox"]
    assert before["sha256"] == stamp(root)["sha256"]
    (tmp_path / "other.json").write_text('{"dog": "Dog", "cat": "Cat", "emu": "Emu", "fox": "Fox", "gnu": "Gnu"}')
    assert stamp(root, class_names=str(tmp_path / "other.json")) == before
    names.write_text("cat Kitty\ndog Dog\nemu Emu\nfox Fox\n")
    assert stamp(root, class_names=str(names)) != before
