"""Which files of a tree are read: each real one once, and what is not is said."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from hwnas.data.folders import EXTENSIONS
from hwnas.data.image_files import ImageFiles, list_images
from hwnas.data.image_tree import find_tree
from hwnas.errors import DataError
from tests.data.trees import touch


def listing(root: Path) -> ImageFiles:
    return list_images(find_tree(root))


def read(root: Path) -> dict[str, list[str]]:
    """Class to the paths that are read of it, below its folder."""
    files = listing(root)
    return {folder.name: [image.below for image in folder.images] for folder in (*files.train, *files.test)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return touch(tmp_path / "data", *(f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(3)))


PLAIN = {"cat": ["0.jpg", "1.jpg", "2.jpg"], "dog": ["0.jpg", "1.jpg", "2.jpg"]}


def test_hidden_and_system_files_are_never_read(root: Path) -> None:
    folders = (
        ".ipynb_checkpoints", "@eaDir", "@EADIR", "__MACOSX", ".git", "$RECYCLE.BIN", "System Volume Information",
        "#recycle", "lost+found", "__pycache__",
    )  # fmt: skip
    for place in ("", "cat/", "cat/deep/"):
        touch(root, *(f"{place}{name}/0.jpg" for name in folders), *(f"{place}{name}/x/0.jpg" for name in folders))
        touch(root, f"{place}._0.jpg", f"{place}.DS_Store", f"{place}Thumbs.db", f"{place}desktop.ini")
    touch(root, "dog/deep/9.jpg")
    assert read(root) == {"cat": PLAIN["cat"], "dog": [*PLAIN["dog"], "deep/9.jpg"]}
    assert listing(root).notes == ()


def test_links_that_lead_round_end(root: Path) -> None:
    (root / "cat" / "up").symlink_to("..")
    (root / "cat" / "self").symlink_to(root / "cat")
    (root / "dog" / "ring").symlink_to("ring")
    (root / "all").symlink_to(".")  # as if it were a class
    assert read(root) == PLAIN
    files = listing(root)
    cat = root / "cat"
    assert files.notes == (
        f"passed over a link to a folder that holds it: {root / 'all'}",
        f"passed over 1 broken link, such as {root / 'dog' / 'ring'}",
        f"passed over 2 links, such as {cat / 'self'}, to a folder that holds it",
    )


def test_rings_of_folders_elsewhere_end(root: Path, tmp_path: Path) -> None:
    for one, other in (("east", "west"), ("west", "east")):
        touch(tmp_path, f"{one}/{one}.jpg")
        (tmp_path / one / "on").symlink_to(tmp_path / other)
    (root / "cat" / "east").symlink_to(tmp_path / "east")
    (root / "cat" / "west").symlink_to(tmp_path / "west")
    assert read(root)["cat"] == [*PLAIN["cat"], "east/east.jpg", "west/west.jpg"]


def test_a_file_belongs_where_it_lies(root: Path) -> None:
    (root / "dog" / "more").symlink_to("../cat")
    (root / "dog" / "one.jpg").symlink_to("../cat/1.jpg")
    (root / "cat" / "again.jpg").symlink_to("1.jpg")
    touch(root, "cat/note.txt")
    assert read(root) == PLAIN
    assert listing(root).left_out == {".txt": 1}
    _, note = listing(root).notes
    assert note.startswith(f"passed over 5 images, such as {root / 'dog' / 'more' / '0.jpg'} (of class cat)")


def test_links_to_images_elsewhere_are_followed(root: Path, tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "a1", "a2.jpg", "deep/a3.jpg", "notes.txt")
    (root / "cat" / "9.jpg").symlink_to(store / "a1")  # by its own name an image, as annexes keep them
    (root / "dog" / "store").symlink_to(store)
    assert read(root) == {
        "cat": [*PLAIN["cat"], "9.jpg"], "dog": [*PLAIN["dog"], "store/a2.jpg", "store/deep/a3.jpg"],
    }  # fmt: skip
    assert listing(root).left_out == {"without ending": 1, ".txt": 1}


def test_two_classes_of_one_file_are_an_error_that_names_both(root: Path, tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "a.jpg")
    (root / "cat" / "x.jpg").symlink_to(store / "a.jpg")
    (root / "dog" / "store").symlink_to(store)
    with pytest.raises(
        DataError, match=r"cat/x\.jpg and .*dog/store/a\.jpg are one file, of class cat and of class dog"
    ):
        listing(root)


def test_hard_links_are_one_file(root: Path) -> None:
    os.link(root / "cat" / "0.jpg", root / "cat" / "copy.jpg")
    assert read(root) == PLAIN
    os.link(root / "cat" / "0.jpg", root / "dog" / "copy.jpg")
    with pytest.raises(DataError, match=r"cat/0\.jpg and .*dog/copy\.jpg are one file"):
        listing(root)


def test_folders_of_the_layout_may_be_links(root: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        touch(tmp_path / "far" / split, "cat/1.jpg", "dog/1.jpg")
    linked = tmp_path / "linked"
    (linked / "test").mkdir(parents=True)
    (linked / "train").symlink_to(tmp_path / "far" / "train")
    for name in ("cat", "dog"):
        (linked / "test" / name).symlink_to(tmp_path / "far" / "test" / name)
    (tmp_path / "root").symlink_to(linked)
    assert read(tmp_path / "root") == {"cat": ["1.jpg"], "dog": ["1.jpg"]}
    (root / "kitten").symlink_to("cat")
    with pytest.raises(
        DataError, match=r"cat/0\.jpg and .*kitten/0\.jpg are one file, of class cat and of class kitten"
    ):
        listing(root)


@pytest.mark.parametrize("how", ["folder", "symbolic", "hard"])
def test_an_image_to_learn_from_and_to_test_on_is_refused(tmp_path: Path, how: str) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg")
    if how == "folder":
        (tmp_path / "test").rename(tmp_path / "old")
        (tmp_path / "test").symlink_to("train")
    elif how == "symbolic":
        (tmp_path / "test" / "dog" / "3.jpg").symlink_to("../../train/dog/1.jpg")
    else:
        os.link(tmp_path / "train/cat/1.jpg", tmp_path / "test/cat/1.jpg")
    count = 2 if how == "folder" else 1
    with pytest.raises(DataError, match=rf"{count} images are in both .*train and .*test, such as .*train/.*1\.jpg"):
        listing(tmp_path)


def test_what_is_left_out_is_said(root: Path) -> None:
    touch(root, "cat/readme.TXT", "cat/deep/b.txt", "dog/film.mov", "dog/new.heic", "dog/.hidden.txt", "LICENSE")
    os.mkfifo(root / "dog" / "pipe.jpg")
    (root / "dog" / "lost.jpg").symlink_to("nowhere.jpg")
    files = listing(root)
    assert read(root) == PLAIN
    assert files.left_out == {".txt": 2, ".mov": 1, ".heic": 1, "special files": 1}
    said, broken = files.notes
    assert said == "left out 5 files that are no images: 2 .txt, 1 .mov, 1 .heic, 1 special files"
    assert broken == f"passed over 1 broken link, such as {root / 'dog' / 'lost.jpg'}"
    assert listing(touch(root.parent / "one", "a/1.jpg", "a/x.md", "b/1.jpg")).notes == (
        "left out 1 file that is no image: 1 .md",
    )


def test_a_class_without_images_says_what_it_holds(root: Path) -> None:
    touch(root, "emu/a.heic", "emu/b.heic", "emu/c.txt")
    (root / "emu" / "d.jpg").symlink_to("gone")
    with pytest.raises(
        DataError, match=r"class folder .*emu holds no image \(left out 2 \.heic, 1 \.txt, .*1 broken link"
    ):
        listing(root)
    (root / "fox").mkdir()
    touch(root, "emu/1.jpg")
    with pytest.raises(DataError, match=r"class folder .*fox holds no image: add some"):
        listing(root)


# Pages and drawings, films, measurements, games' textures, and files of programs, of which Pillow reads some.
NO_STILLS = {
    ".pdf", ".ps", ".eps", ".emf", ".wmf", ".mpg", ".mpeg", ".flc", ".fli", ".h5", ".hdf", ".grib", ".bufr", ".fit",
    ".fits", ".iim", ".palm", ".blp", ".ftc", ".ftu", ".gbr", ".dcx", ".cur", ".icns", ".pcd", ".msp", ".pxr", ".im",
}  # fmt: skip


def test_extensions_are_pillows() -> None:
    known = set(Image.registered_extensions())
    missing = set(EXTENSIONS) - known
    assert missing <= {".avif", ".avifs", ".pfm"}  # of which older versions know nothing
    assert known - set(EXTENSIONS) == NO_STILLS & known
    opened = {*Image.OPEN, "MPO"}  # opened as JPEG
    assert {Image.registered_extensions()[end] for end in set(EXTENSIONS) - missing} <= opened


@pytest.mark.parametrize(
    "extension", [".webp", ".bmp", ".tif", ".TIFF", ".jfif", ".jpe", ".gif", ".pgm", ".PNG", ".apng"]
)
def test_images_of_every_kind_are_read(root: Path, extension: str) -> None:
    touch(root, f"cat/8{extension}")
    assert f"8{extension}" in read(root)["cat"]


def test_names_of_images_need_not_be_utf8(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    touch(root, f"cat/{name}")
    assert read(root)["cat"] == [*PLAIN["cat"], name]
