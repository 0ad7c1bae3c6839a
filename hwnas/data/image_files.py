"""Which images a class-per-folder tree holds: each real file once. Standard library and numpy only.

A real file is what the file system counts as one, by whatever links it is reached, symbolic or hard. It belongs to the
class in whose folder it lies; a symbolic link below another class's folder gives it to that one only where it lies in
none. Class folders, train/, test/ and the root may be links themselves, which count as folders here.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwnas.data.folders import is_image, is_linked_above, listed, printable, visible
from hwnas.data.image_tree import ImageTree
from hwnas.errors import DataError

__all__ = ["ClassFolder", "ImageFile", "ImageFiles", "list_images"]


class ImageFile(NamedTuple):
    """`below`: its path in the class folder; `size` in bytes; `modified_ns` since 1970; `real`: which file it is."""

    below: str
    size: int
    modified_ns: int
    real: int


@dataclass
class ClassFolder:
    """A class's images in one split, sorted by path, and what lies among them that isn't read."""

    split: str
    name: str
    path: str
    images: list[ImageFile] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    cycles: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def path_of(self, image: ImageFile) -> str:
        return f"{self.path}{os.sep}{image.below}"


@dataclass(frozen=True)
class ImageFiles:
    """The classes' folders of each split in the order of their labels; `test` is empty where there is none.

    `held_out`: of the classes that have images in val/, empty where none are read. `left_out`: how many files of which
    kind are no images. `notes`: that and all else that is not read, a line each.
    """

    train: tuple[ClassFolder, ...]
    test: tuple[ClassFolder, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    held_out: tuple[ClassFolder, ...] = ()

    def labels(self, part: str) -> NDArray[np.int64]:
        """Of the images of `train`, `held_out` or `test`, in the order of its folders."""
        known = {folder.name: label for label, folder in enumerate(self.train)}
        folders: tuple[ClassFolder, ...] = getattr(self, part)
        return np.repeat([known[each.name] for each in folders], [len(each.images) for each in folders]).astype(
            np.int64
        )

    def sizes(self, part: str) -> NDArray[np.int64]:
        """How many images each class has in `train`, `held_out` or `test`, by label."""
        return np.bincount(self.labels(part), minlength=len(self.train))


def list_images(tree: ImageTree) -> ImageFiles:
    """Every image below each class folder.

    Hidden and system files are passed over, as are broken links, links to folders that hold them, and links to another
    class's images. Raises DataError for a class without images, a file of two classes (by hard links, or by symbolic
    ones where it lies in neither), one in two of train/, val/ and test/, and a folder that can't be read. A class may
    have no images in val/.
    """
    train = _class_folders("train", tree.train, tree.classes, tree.train_folders)
    test = () if tree.test is None else _class_folders("test", tree.test, tree.classes, tree.test_folders)
    held = () if tree.val is None else _held_out_folders(tree.val, tree)
    folders = (*train, *test, *held)
    tops = [os.path.realpath(folder.path) for folder in folders]
    found = [_look_through(folder) for folder in folders]
    # Else no file can be met twice, and a million of them are not compared.
    if any(links or hard for links, hard in found) or _overlap(tops):
        owners = _Owners(tree)
        for folder in folders:
            owners.settle(folder)
        for folder, top, (links, _) in zip(folders, tops, found, strict=True):
            _follow(folder, top, links, owners, tuple(each + os.sep for each in tops))
        owners.check_splits()
    for folder in folders:
        if not folder.images and folder.split != "val":
            raise DataError(
                f"class folder {printable(folder.path)} holds no image{_why(folder)}: add some or remove the folder"
            )
        folder.images.sort()
    left_out = dict(sum((folder.left_out for folder in folders), Counter[str]()).most_common())
    notes = (*tree.notes, *([_left_out(left_out)] if left_out else []), *_passed_over(folders))
    return ImageFiles(train, test, left_out, notes, tuple(folder for folder in held if folder.images))


class _Owners:
    """Which class each real file belongs to."""

    def __init__(self, tree: ImageTree) -> None:
        self._tree = tree
        self._of: dict[int, tuple[ClassFolder, ImageFile, bool]] = {}
        self._in_both: list[tuple[ClassFolder, str, ClassFolder, str]] = []

    def settle(self, folder: ClassFolder) -> None:
        """Take the images that lie in `folder` into account; of two hard links to one file there, one stays."""
        folder.images = [image for image in sorted(folder.images) if self.takes(folder, image, linked=False)]

    def takes(self, folder: ClassFolder, image: ImageFile, linked: bool) -> bool:
        """Whether `image`, which a symbolic link led to if `linked`, is to be read in `folder`."""
        if image.real not in self._of:
            self._of[image.real] = folder, image, linked
            return True
        owner, first, by_link = self._of[image.real]
        here, there = printable(folder.path_of(image)), printable(owner.path_of(first))
        if owner.split != folder.split:
            self._in_both.append((owner, there, folder, here))
        elif owner is not folder and by_link == linked:
            raise DataError(
                f"{there} and {here} are one file, of class {owner.name} and of class {folder.name}: remove one of them"
            )
        elif owner is not folder:
            folder.others.append(f"{here} (of class {owner.name})")
        return False

    def check_splits(self) -> None:
        if self._in_both:
            owner, one, folder, other = self._in_both[0]
            both = [each for each in self._in_both if {each[0].split, each[2].split} == {owner.split, folder.split}]
            where = [printable(getattr(self._tree, each.split)) for each in (owner, folder)]
            val = "val" in (owner.split, folder.split)
            way = ", or set data.held_out to a number to draw from the training images" * val
            raise DataError(
                f"{len(both)} images are in both {where[0]} and {where[1]}, such as {one} and {other}, which are one"
                f" file: networks are {'chosen and ' * val}tested on images that they have not learned from, so remove"
                f" them from one of the two{way}"
            )


def _class_folders(split: str, folder: Path, names: Sequence[str], spelled: Sequence[str]) -> tuple[ClassFolder, ...]:
    return tuple(
        ClassFolder(split, name, os.path.join(folder, each))  # noqa: PTH118 - paths of files are made of it
        for name, each in zip(names, spelled, strict=True)
    )


def _held_out_folders(val: Path, tree: ImageTree) -> tuple[ClassFolder, ...]:
    pairs = [(name, each) for name, each in zip(tree.classes, tree.val_folders, strict=True) if each is not None]
    return _class_folders("val", val, [name for name, _ in pairs], [each for _, each in pairs])


def _look_through(folder: ClassFolder) -> tuple[list[str], bool]:
    """Find what lies in the folder; the symbolic links there (paths below it), and whether any file has hard links."""
    links: list[str] = []
    hard, waiting = False, [""]
    while waiting:
        hard |= _look_at(folder, waiting.pop(), waiting, links, folder.images)
    return sorted(links), hard


def _look_at(folder: ClassFolder, below: str, folders: list[str], links: list[str], images: list[ImageFile]) -> bool:
    """Sort the entries of one folder (`below` its class folder, ending in a slash) into the three lists."""
    hard = False
    for entry in visible(f"{folder.path}{os.sep}{below}" if below else folder.path):
        here = below + entry.name
        if entry.is_symlink():
            links.append(here)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(here + os.sep)
        elif (found := _file(folder, here)) is not None:
            images.append(found[0])
            hard |= found[1]
    return hard


def _file(folder: ClassFolder, below: str) -> tuple[ImageFile, bool] | None:
    """The image there, and whether it has several hard links; None, and counted, where it is none."""
    path = f"{folder.path}{os.sep}{below}"
    if not is_image(below):
        folder.left_out[os.path.splitext(below)[1].lower() or "without ending"] += 1  # noqa: PTH122
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - Path objects for a million files take several times as long
    except OSError as error:
        raise DataError(f"data.root: {printable(path)} cannot be read ({error.strerror}): was it moved?") from error
    if not stat.S_ISREG(found.st_mode):
        folder.left_out["special files"] += 1
        return None
    real = found.st_dev << 64 | found.st_ino
    return ImageFile(below, found.st_size, found.st_mtime_ns, real), found.st_nlink > 1


def _follow(folder: ClassFolder, top: str, links: list[str], owners: _Owners, counted: tuple[str, ...]) -> None:
    """Add what symbolic links lead to; folders that they lead to several times are entered once.

    What is no image in a folder below one of `counted` is known already.
    """
    entered: set[str] = set()
    while links:
        below = links.pop(0)
        path = f"{folder.path}{os.sep}{below}"
        if not os.path.exists(path):  # noqa: PTH110 - links that lead round in a ring
            folder.broken.append(path)
            continue
        images: list[ImageFile] = []
        if not os.path.isdir(path):  # noqa: PTH112
            found = _file(folder, below)
            images = [found[0]] if found is not None else []
        elif is_linked_above(path, top):
            folder.cycles.append(path)
        else:
            waiting = [below + os.sep]
            while waiting:
                inner = waiting.pop()
                if (real := os.path.realpath(folder.path + os.sep + inner)) not in entered:
                    entered.add(real)
                    before = folder.left_out.copy()
                    _look_at(folder, inner, waiting, links, images)
                    if f"{real}{os.sep}".startswith(counted):
                        folder.left_out = before
        folder.images += [image for image in sorted(images) if owners.takes(folder, image, linked=True)]


def _overlap(tops: list[str]) -> bool:
    """Whether one of these real folders holds another, or is the same."""
    ordered = sorted(top + os.sep for top in tops)
    return any(after.startswith(before) for before, after in itertools.pairwise(ordered))


def _kinds(left_out: Mapping[str, int]) -> str:
    return listed([f"{count} {printable(kind)}" for kind, count in left_out.items()])


def _left_out(left_out: Mapping[str, int]) -> str:
    count = sum(left_out.values())
    return f"left out {count} file{'s that are no images' if count > 1 else ' that is no image'}: {_kinds(left_out)}"


def _passed_over(folders: Sequence[ClassFolder]) -> list[str]:
    broken, cycles, others = (
        [printable(path) for folder in folders for path in getattr(folder, kind)]
        for kind in ("broken", "cycles", "others")
    )
    notes = [f"passed over {listed(broken, counted='broken link')}"] if broken else []
    notes += [f"passed over {listed(cycles, counted='link')}, to a folder that holds it"] if cycles else []
    return notes + ([f"passed over {listed(others, counted='image')}, reached by a link"] if others else [])


def _why(folder: ClassFolder) -> str:
    reasons = [f"left out {_kinds(folder.left_out)}, which Pillow does not read as images"] if folder.left_out else []
    return f" ({'; '.join(reasons)})" if (reasons := [*reasons, *_passed_over([folder])]) else ""
