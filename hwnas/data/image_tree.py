"""Where a class-per-folder tree has its splits and classes. Standard library only: the command line asks for them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hwnas.data.folders import is_image, is_linked_above, listed, printable, visible
from hwnas.errors import DataError

__all__ = ["ImageTree", "find_tree"]

_EXPECTED = "a folder with train/<class>/*.jpg and test/<class>/*.jpg (or val/), or with <class>/*.jpg alone"
_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "val", "valid": "val",
    "validation": "val", "validate": "val", "eval": "val", "evaluation": "val", "dev": "val", "development": "val",
}  # fmt: skip
# test_set, train-images; and with the same before or after it in each split: seg_train and seg_test, train2017, val2017
_SPLIT = re.compile(
    rf"(?:(?P<before>.+)[\s_.-]+)?(?P<word>{'|'.join(_SPLITS)})(?:[\s_.-]*(?:set|data|images|split))*"
    r"(?P<after>[\s_.-]+.+|\d+)?"
)


@dataclass(frozen=True)
class ImageTree:
    """`train` and `test` are folders with one subfolder a class; `test` is None where `train` is to be split. `val`
    are the held-out images beside them; None where these are to be drawn from `train`.

    `classes` are the subfolders' names in Unicode's composed form, sorted; `train_folders`, `test_folders` and
    `val_folders` are the same as the file system spells them, None for a class that `val` lacks. `notes` say what
    beside them is not read, a line each.
    """

    train: Path
    test: Path | None
    classes: tuple[str, ...]
    train_folders: tuple[str, ...]
    test_folders: tuple[str, ...]
    notes: tuple[str, ...] = ()
    val: Path | None = None
    val_folders: tuple[str | None, ...] = ()


def find_tree(
    root: str | Path | None, name: str = "image_folder", class_count: int = 0, held_out: int | None = None
) -> ImageTree:
    """The splits and classes under `root`; class names sorted, labels being their positions. Reads no class folder
    but for their subfolders, where the first has some.

    Splits are known in any case and by their usual names (train, training; test, testing; val, valid, validation,
    eval, dev, development; also as test_set, seg_train or val2017, where there is another with the same beside the
    word). Where both test/ and val/ are there, val/ is held out, unless `held_out` images are to be drawn from train/;
    where test/ is not, val/ is tested on. A single folder so named among others that holds images and no folder is a
    class of that name.

    Hidden and system folders, and links to folders that hold them, are passed over. Raises DataError for a root that is
    missing or can't be read, two folders for one split, fewer than two classes, another number than `class_count` (0:
    any), classes that differ between training and test or that only val/ has, class folders that all have the same
    subfolders (folds or splits by another name, unless `class_count` is their number), and names that are no UTF-8.
    """
    if root is None or not str(root):
        raise DataError(f"data.root is not set: data={name} needs data.root=…, {_EXPECTED}")
    root = Path(root).expanduser()
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises for folders that may not be read
        kind = "is a file (an archive is to be unpacked first)" if os.path.isfile(root) else ""  # noqa: PTH113
        said = f"{printable(root)} {kind}" if kind else f"no folder {printable(root)}"
        raise DataError(f"data.root: {said}; expected {_EXPECTED}")
    splits = _splits(root)
    train = splits.get("train")
    test = splits.get("test") or splits.get("val")
    if train is None:
        if test is not None and class_count != (count := len(_folders(root).names)):
            raise DataError(
                f"{printable(root)} has {test}/ but no train/; expected {_EXPECTED}; if {test} is a class, set"
                f" data.class_count={count}"
            )
        found = _classes(root, name, class_count)
        return ImageTree(root, None, tuple(found.names), tuple(found.names.values()), (), found.notes)
    if test is None:
        raise DataError(
            f"{printable(root)} has {train}/ but neither test/ nor val/; add one, or set"
            f" data.root={printable(root / train)} to split it"
        )
    learned, tested = _classes(root / train, name, class_count), _classes(root / test, name, -1)
    if learned.names.keys() != tested.names.keys():
        raise DataError(_differ(printable(root), train, test, [*learned.names], [*tested.names]))
    held, notes = _held_out(root, splits, learned, held_out) if "test" in splits else (None, [])
    read = [train, test] if held is None else [train, splits["val"], test]
    told = [folder for split, folder in _named_as_splits(_folders(root).names.values()) if split == "val" and notes]
    beside = [f"{folder}/" for folder in _folders(root).names.values() if folder not in (*read, *told)]
    where = " and ".join(f"{folder}/" for folder in (train, test)) if held is None else _listed_folders(read)
    unread = f"not read, beside {where}: {listed([printable(folder) for folder in beside])}"
    return ImageTree(
        root / train,
        root / test,
        tuple(learned.names),
        tuple(learned.names.values()),
        tuple(tested.names[folder] for folder in learned.names),
        (*([unread] if beside else []), *notes, *learned.notes, *tested.notes, *(held.notes if held else ())),
        None if held is None else root / splits["val"],
        () if held is None else tuple(held.names.get(folder) for folder in learned.names),
    )


def _held_out(
    root: Path, splits: dict[str, str], learned: _Folders, held_out: int | None
) -> tuple[_Folders | None, list[str]]:
    """The class folders of val/, None where none are to be read, and why not. DataError for a class of its own."""
    if "val" not in splits:
        return None, []
    val, train = splits["val"], splits["train"]
    several = [folder for split, folder in _named_as_splits(_folders(root).names.values()) if split == "val"]
    if held_out is not None:
        return None, [f"data.held_out={held_out} images are drawn from {train}/, and {val}/ is not read"]
    if len(several) > 1:
        both = _listed_folders([printable(folder) for folder in several])
        return None, [
            f"{both} may each be the held-out images: none is read, and they are drawn from {train}/; to have one read,"
            " move the other away"
        ]
    held = _folders(root / val)
    if not held.names:
        return None, [f"{val}/ holds no class folder: it is not read, and held-out images are drawn from {train}/"]
    if alien := held.names.keys() - learned.names.keys():
        raise DataError(
            f"{printable(root)}: {val}/ has class folders that {train}/ lacks:"
            f" {listed([printable(each) for each in sorted(alien)])}; rename or remove them, or set data.held_out to a"
            f" number of images to draw from {train}/ instead"
        )
    return held, []


def _listed_folders(folders: list[str]) -> str:
    return ", ".join(f"{folder}/" for folder in folders[:-1]) + f" and {folders[-1]}/"


@dataclass(frozen=True)
class _Folders:
    """Subfolders: composed name to name as spelled, sorted; and the images that lie beside them."""

    names: dict[str, str]
    notes: tuple[str, ...]
    images: int


def _folders(folder: Path) -> _Folders:
    names: dict[str, str] = {}
    images: list[str] = []
    notes = []
    for entry in visible(folder):
        path = printable(entry.path)
        if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - links that lead round in a ring
            notes.append(f"passed over the broken link {path}")
        elif entry.is_dir():
            composed = unicodedata.normalize("NFC", entry.name)
            if entry.is_symlink() and is_linked_above(entry.path):
                notes.append(f"passed over a link to a folder that holds it: {path}")
            elif composed in names:
                raise DataError(
                    f"{printable(folder)}: two folders called {printable(composed)}, spelled with composed and with"
                    " decomposed characters: move the images of one into the other"
                )
            else:
                names[composed] = entry.name
        elif is_image(entry.name):
            images.append(path)
    if images:
        notes.append(f"not read, since outside of any class folder: {listed(images, 1, 'image')}")
    return _Folders(dict(sorted(names.items())), tuple(notes), len(images))


def _splits(root: Path) -> dict[str, str]:
    """The folder of each split that there is. Raises DataError for two of one."""
    folders = [*_folders(root).names.values()]
    named = _named_as_splits(folders)
    if len(named) == 1 and len(folders) > 1:
        inside = _folders(root / named[0][1])
        if inside.images and not inside.names:
            return {}  # one of the classes
    found: dict[str, str] = {}
    for split, folder in named:
        if split in found and not (split == "val" and any(other == "test" for other, _ in named)):
            raise DataError(
                f"{printable(root)} has both {found[split]}/ and {folder}/, which may each be the {split} images: keep"
                " one, or rename or move the other"
            )
        found[split] = folder
    return found


def _named_as_splits(folders: Iterable[str]) -> list[tuple[str, str]]:
    """Split and folder of those that are called as one."""
    by_rest: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for folder in folders:
        if match := _SPLIT.fullmatch(folder.casefold()):
            rest = match["before"] or "", match["after"] or ""
            by_rest.setdefault(rest, []).append((_SPLITS[match["word"]], folder))
    plain = by_rest.pop(("", ""), [])
    # bullet_train alone is a class.
    whole = [several for several in by_rest.values() if {"train"} < {split for split, _ in several}]
    return plain or [*whole, plain][0]


def _classes(folder: Path, name: str, count: int) -> _Folders:
    """The class folders; of the `count` expected, 0 for any number, -1 where another folder's are asked instead."""
    found = _folders(folder)
    names, shown = found.names, printable(folder)
    if len(names) < 2:
        outside = found.images
        hint = f" and {outside} images outside of any: move each into the folder of its class" if outside else ""
        inside = folder / next(iter(names.values())) if names and not outside else None
        if inside is not None and _folders(inside).names:
            hint = f" (or is data.root={printable(inside)} meant?)"
        raise DataError(
            f"{shown}: expected at least two class folders, found {len(names)}"
            f" ({listed([printable(each) for each in names])}){hint}; a network tells two classes or more apart, and"
            f" data.root must be {_EXPECTED}"
        )
    for each in names:
        if printable(each) != each or len(each.splitlines()) > 1:
            raise DataError(
                f"class folder {printable(folder / each)}: expected a name in UTF-8 and on one line, since networks are"
                " exported with the names of their classes: rename it"
            )
    if count > 0 and len(names) != count:
        raise DataError(
            f"{shown}: data={name} expects {count} class folders, found {len(names)} ({listed([*names], 4)});"
            f" complete the tree (train/<class>/*, test or val/<class>/*, the same {count} folders in both),"
            " or set data.class_count=0 to take what is there"
        )
    if count == 0:
        _ask_about_splits(folder, names)
    return found


def _ask_about_splits(folder: Path, names: dict[str, str]) -> None:
    """Raises DataError where classes seem to be a level deeper, or the splits to be within the classes."""
    common: set[str] = set()
    for spelled in names.values():
        inside = _folders(folder / spelled)
        if inside.images or len(inside.names) < 2 or (common and common != inside.names.keys()):
            return
        common = set(inside.names)
    shown, example, within = printable(folder), next(iter(names)), listed([printable(each) for each in sorted(common)])
    if {"train"} < {split for split, _ in _named_as_splits(common)}:
        advice = "lay it out as <split>/<class> instead of <class>/<split>"
    else:
        advice = f"if those are the classes, set data.root={shown}/{example}, or call the folders train/ and test/"
    raise DataError(
        f"{shown}: each of the {len(names)} folders {listed([*names], 4)} has the same folders ({within}) and no image"
        f" beside them: {advice}; if {listed([*names], 4)} are the classes, set data.class_count={len(names)}"
    )


def _differ(root: str, train: str, test: str, learned: list[str], tested: list[str]) -> str:
    only_train, only_test = sorted(set(learned) - set(tested)), sorted(set(tested) - set(learned))
    folded = {each.casefold(): each for each in only_test}
    pairs = [f"{each} and {folded[each.casefold()]}" for each in only_train if each.casefold() in folded]
    hint = f"; {listed(pairs)} differ in capitals alone: rename one" if pairs else ""
    lists = [listed([printable(each) for each in only]) for only in (only_train, only_test)]
    return (
        f"{root}: {train}/ and {test}/ must have the same class folders; only in {train}/: {lists[0]};"
        f" only in {test}/: {lists[1]}{hint}"
    )
