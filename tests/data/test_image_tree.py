"""Splits and classes of trees as people have them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from hwnas.data.config import ImageFolderConfig, describe
from hwnas.data.image_files import list_images
from hwnas.data.image_tree import find_tree
from hwnas.errors import DataError
from tests.data.trees import touch


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"), ("Train", "Test"), ("training", "validation"), ("TRAIN", "VAL"), ("train", "valid"),
        ("train", "eval"), ("training_set", "test_set"), ("Train-Images", "Validation Images"), ("train", "Evaluation"),
        ("seg_train", "seg_test"), ("train2017", "val2017"), ("a-Training", "a-Testing"), ("train_v2", "test_v2"),
        ("train", "dev"), ("train_set", "Dev-Set"), ("train", "Development"), ("train2017", "dev2017"),
    ],
)  # fmt: skip
def test_splits_are_known_by_their_usual_names(tmp_path: Path, train: str, test: str) -> None:
    touch(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/1.jpg", f"{test}/cat/2.jpg", f"{test}/dog/2.jpg")
    tree = find_tree(tmp_path)
    assert (tree.classes, tree.train, tree.test) == (("cat", "dog"), tmp_path / train, tmp_path / test)
    assert tree.notes == ()


def test_test_is_tested_on_and_val_held_out(tmp_path: Path) -> None:
    splits = ("train", "Val", "test", "annotations", ".cache")
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in splits for name in ("a", "b")))
    tree = find_tree(tmp_path)
    assert (tree.test, tree.val) == (tmp_path / "test", tmp_path / "Val")
    assert (tree.test_folders, tree.val_folders) == (("a", "b"), ("a", "b"))
    assert tree.notes == ("not read, beside train/, Val/ and test/: annotations/",)
    drawn = find_tree(tmp_path, held_out=7)
    assert (drawn.val, drawn.val_folders) == (None, ())
    assert drawn.notes == (
        "not read, beside train/ and test/: annotations/",
        "data.held_out=7 images are drawn from train/, and Val/ is not read",
    )


def test_two_folders_of_held_out_images_are_both_left(tmp_path: Path) -> None:
    splits = ("train", "val", "dev", "test")
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in splits for name in ("a", "b")))
    tree = find_tree(tmp_path)
    assert tree.val is None
    assert tree.notes == (
        "dev/ and val/ may each be the held-out images: none is read, and they are drawn from train/; to have one read,"
        " move the other away",
    )


def test_a_val_folder_without_classes_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in ("train", "test") for name in ("a", "b")), "val/1.jpg")
    tree = find_tree(tmp_path)
    assert tree.val is None
    assert tree.notes == ("val/ holds no class folder: it is not read, and held-out images are drawn from train/",)


def test_classes_of_val_are_some_of_those_learned(tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "ñandú"), unicodedata.normalize("NFD", "ñandú")
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in ("train", "test") for name in ("cat", "emu", composed)))
    touch(tmp_path, f"valid/{decomposed}/v.jpg")
    tree = find_tree(tmp_path)
    assert tree.val_folders == (None, None, decomposed)
    assert list_images(tree).labels("held_out").tolist() == [2]
    touch(tmp_path, "valid/gnu/1.jpg")
    with pytest.raises(DataError, match=r"valid/ has class folders that train/ lacks: gnu; rename .*data\.held_out"):
        find_tree(tmp_path)
    assert find_tree(tmp_path, held_out=2).val is None


@pytest.mark.parametrize(("one", "other"), [("train", "Training"), ("test", "testing"), ("val", "Validation")])
def test_two_folders_for_one_split_are_named(tmp_path: Path, one: str, other: str) -> None:
    rest = ("train",) if one != "train" else ("test",)
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in (one, other, *rest) for name in ("a", "b")))
    first, second = sorted((one, other))
    with pytest.raises(DataError, match=rf"has both {first}/ and {second}/"):
        find_tree(tmp_path)


@pytest.mark.parametrize("folds", [("fold1", "fold2"), ("Lernen", "Prüfen"), ("part_a", "part_b", "part_c")])
def test_classes_a_level_deeper_are_asked_about(tmp_path: Path, folds: tuple[str, ...]) -> None:
    touch(tmp_path, *(f"{fold}/{name}/1.jpg" for fold in folds for name in ("cat", "dog")))
    with pytest.raises(DataError, match=rf"has the same folders \(cat, dog\).*data\.root=.*{folds[0]}") as caught:
        find_tree(tmp_path)
    assert f"set data.class_count={len(folds)}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert find_tree(tmp_path, class_count=len(folds)).classes == folds


def test_splits_within_classes_are_asked_about(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{split}/1.jpg" for split in ("Train", "Test") for name in ("cat", "dog", "emu")))
    with pytest.raises(DataError, match=r"cat, dog, emu has the same folders \(Test, Train\).*<split>/<class>"):
        find_tree(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        ("cat/a/1.jpg", "cat/b/1.jpg", "dog/a/1.jpg"),  # other subfolders
        ("cat/a/1.jpg", "cat/b/1.jpg", "dog/1.jpg"),  # none
        ("cat/images/1.jpg", "dog/images/1.jpg"),  # one alone can be no classes
        ("cat/a/1.jpg", "cat/b/1.jpg", "cat/1.jpg", "dog/a/1.jpg", "dog/b/1.jpg", "dog/1.jpg"),  # images beside them
        ("cat/a/1.jpg", "cat/.b/1.jpg", "dog/a/1.jpg", "dog/.b/1.jpg"),
    ],
)
def test_images_may_lie_deeper_in_a_class(tmp_path: Path, files: tuple[str, ...]) -> None:
    touch(tmp_path, *files)
    tree = find_tree(tmp_path)
    assert tree.classes == ("cat", "dog")
    found = [f"{folder.name}/{image.below}" for folder in list_images(tree).train for image in folder.images]
    assert found == sorted(name for name in files if "/." not in name)


def test_a_class_may_be_called_as_a_split(tmp_path: Path) -> None:
    touch(tmp_path, "bus/1.jpg", "car/1.jpg", "train/1.jpg")
    assert find_tree(tmp_path).classes == ("bus", "car", "train")
    touch(tmp_path / "named", "bullet_train/a/1.jpg", "test tube/1.jpg", "train_station/1.jpg")
    assert find_tree(tmp_path / "named").classes == ("bullet_train", "test tube", "train_station")
    touch(tmp_path / "of", "valid/a/1.jpg", "invalid/1.jpg")
    with pytest.raises(DataError, match=r"has valid/ but no train/.*if valid is a class, set data\.class_count=2"):
        find_tree(tmp_path / "of")
    assert find_tree(tmp_path / "of", class_count=2).classes == ("invalid", "valid")
    touch(tmp_path, "test/1.jpg")  # two such: splits, without classes
    with pytest.raises(DataError, match=r"found 0 \(none\) and 1 images outside of any"):
        find_tree(tmp_path)


def test_class_names_match_in_either_unicode_form(tmp_path: Path) -> None:
    composed, decomposed = unicodedata.normalize("NFC", "ñandú"), unicodedata.normalize("NFD", "ñandú")
    assert composed != decomposed
    touch(tmp_path, f"train/{decomposed}/1.jpg", "train/emu/1.jpg", f"test/{composed}/1.jpg", "test/emu/1.jpg")
    tree = find_tree(tmp_path)
    assert tree.classes == ("emu", composed)
    files = list_images(tree)
    assert [folder.name for folder in files.test] == ["emu", composed]
    assert Path(files.train[1].path_of(files.train[1].images[0])).exists()
    touch(tmp_path, f"train/{composed}/2.jpg")
    with pytest.raises(DataError, match="two folders called ñandú"):
        find_tree(tmp_path)


def test_classes_that_differ_in_capitals_are_said_to(tmp_path: Path) -> None:
    touch(tmp_path, "train/Cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg")
    with pytest.raises(DataError, match="Cat and cat differ in capitals alone: rename one"):
        find_tree(tmp_path)


@pytest.mark.parametrize(("name", "says"), [(b"caf\xe9", r"caf\\xe9: expected a name in UTF-8"), (b"a\nb", "one line")])
def test_a_class_folder_that_cannot_be_a_label_is_refused(tmp_path: Path, name: bytes, says: str) -> None:
    for folder in (name, b"dog"):
        os.mkdir(os.path.join(os.fsencode(tmp_path), folder))  # noqa: PTH102, PTH118 - Path takes no bytes
    with pytest.raises(DataError, match=says) as caught:
        describe(ImageFolderConfig(root=str(tmp_path)))
    str(caught.value).encode()


def test_a_root_that_is_a_file_or_a_level_too_high(tmp_path: Path) -> None:
    (tmp_path / "flowers.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"flowers\.zip is a file \(an archive is to be unpacked first\)"):
        find_tree(tmp_path / "flowers.zip")
    touch(tmp_path, "up/flowers/a/1.jpg", "up/flowers/b/1.jpg")
    with pytest.raises(DataError, match=r"found 1 \(flowers\) \(or is data\.root=.*/up/flowers meant\?\)"):
        find_tree(tmp_path / "up")


@pytest.mark.skipif(os.getuid() != 0, reason="must become another user")
@pytest.mark.parametrize("hidden", ["", "cat", "cat/deep"])
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, hidden: str) -> None:
    touch(tmp_path, "cat/deep/1.jpg", "cat/1.jpg", "dog/1.jpg")
    held = os.open(tmp_path, os.O_RDONLY)
    before = Path.cwd()
    os.fchdir(held)  # what is above belongs to this user alone
    os.close(held)
    Path(hidden or ".").chmod(0o300 if hidden else 0o100)
    try:
        os.seteuid(65534)
        with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)|no folder"):
            list_images(find_tree("."))
    finally:
        os.seteuid(0)
        os.chdir(before)


def test_a_tree_is_found_without_reading_images(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg", "outside.jpg")
    tree = find_tree(f"{tmp_path}/")
    assert tree.notes == (f"not read, since outside of any class folder: 1 image, such as {tmp_path}/outside.jpg",)
    described = describe(ImageFolderConfig(root=str(tmp_path)))
    assert described.folders == described.classes == ("a", "b")
