"""Where once-for-all's published latency tables lie: one YAML file a resolution, under the names that people gave them.

`latency_table@note10/160_lookup_table.yaml` is what the authors' repository and its copies have; `note10_w12_160.yaml`
says device and width as well. What a file is for is read in it: the first convolution's input is the resolution.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hwnas.errors import TableError, choices

__all__ = ["PublishedTables", "device_folder", "find_tables"]

_WORDS = r"(?:lookup|latency|table|tables|lut|luts)"
_ESTABLISHED = re.compile(r"(?P<device>.+)_w(?P<width>[\d.]+)_(?P<resolution>\d+)|(?P<lookup>\d+)_lookup_table")
_DEVICE_FIRST = re.compile(r"(?:(?P<device>.+?)[_-])?(?:w(?P<width>[\d.]+)[_-])?r?(?P<resolution>\d+)(?:px|x\d+)?")
_DEVICE_LAST = re.compile(r"r?(?P<resolution>\d+)(?:px|x\d+)?[_-](?P<device>.+)")
_FOLDER = re.compile(rf"{_WORDS}(?:[_-]{_WORDS})*@(?P<device>.+)", re.IGNORECASE)
_STEM = re.compile(rb"(?<!\w)Conv-input:(\d+)x\1x\d+-output:")
_OPERATOR = re.compile(rb"(?<!\w)(?:Conv|Conv_1|Conv_2|AvgPool2D|Logits|expanded_conv)-input:\d+x\d+x\d+-output:")
_RESOLUTIONS = range(32, 2049)


@dataclass(frozen=True)
class PublishedTables:
    """The file of each resolution, and the device that they name ('' where they name none)."""

    device: str
    files: dict[int, Path]


@dataclass(frozen=True)
class _Found:
    path: Path
    setting: tuple[str, str]
    """Device and width, as far as the name says them."""
    resolutions: tuple[int, ...]


def find_tables(path: Path | str) -> PublishedTables:
    """The published tables in the folder `path`, or the one that it is itself. A file may hold several resolutions.

    Raises TableError where there are none, where files of several devices or widths stand there, where two are of one
    resolution, and where a file is named after another resolution than it is of.
    """
    path = Path(path)
    files = _yaml_files(path)
    found = [table for file in files if (table := _table(file)) is not None]
    if not found:
        raise TableError(
            f"{path}: no published tables: looked for YAML files of operators such as Conv-input:224x224x3-output:…,"
            f" named like 224_lookup_table.yaml or note10_w12_224.yaml; {_instead(path, files)}"
        )
    settings = sorted({"_w".join(part for part in table.setting if part) or table.path.name for table in found})
    if len({table.setting for table in found}) > 1:
        raise TableError(f"{path}: tables of several settings ({', '.join(settings)}): keep one a folder")
    by_resolution: dict[int, Path] = {}
    for table in found:
        for resolution in table.resolutions:
            if resolution in by_resolution:
                both = f"{by_resolution[resolution].name} and {table.path.name}"
                raise TableError(f"{path}: {both} are both of resolution {resolution}: keep one of them")
            by_resolution[resolution] = table.path
    return PublishedTables(found[0].setting[0] or _device_of(path), dict(sorted(by_resolution.items())))


def device_folder(folder: Path | str, device: str) -> Path:
    """Where in `folder` the tables of `device` lie: `<device>`, `latency_table@<device>`, `<device>-latency-table`.

    It may be `folder` itself, where that is of this device alone. Raises TableError where there is none, or several.
    """
    folder = Path(folder)
    if (folder / device).is_dir():
        return folder / device
    inside = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    form = re.compile(rf"(?:{_WORDS}[_@-])*{re.escape(device)}(?:[_-]{_WORDS})*", re.IGNORECASE)
    named = [sub for sub in inside if form.fullmatch(sub.name)]
    if len(named) == 1:
        return named[0]
    if not named and (_device_of(folder) == device or _holds_tables_of(folder, device)):
        return folder
    if named:
        both = " and ".join(sub.name for sub in named)
        raise TableError(f"devices: {both} in {folder} are both of {device}: keep one")
    known = [_device_of(sub) or sub.name for sub in inside]
    raise TableError(
        f"devices: expected a folder of published tables a device, found none at {folder / device} nor at"
        f" {folder / f'latency_table@{device}'}; {choices(device, known)}"
    )


def _yaml_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise TableError(f"no such file or folder: {path}; give the path of published tables")
    inside = (file for file in sorted(path.iterdir()) if file.suffix.lower() in (".yaml", ".yml"))
    return [file for file in inside if file.is_file() and not file.name.startswith(".")]


def _table(path: Path) -> _Found | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} is not readable ({error.strerror})") from error
    stem = re.sub(rf"(?:^|(?<=[_-])){_WORDS}(?:[_-]|$)", "", path.stem, flags=re.IGNORECASE).strip("_-")
    name = _ESTABLISHED.fullmatch(path.stem) or _DEVICE_FIRST.fullmatch(stem) or _DEVICE_LAST.fullmatch(stem)
    said = {key: value or "" for key, value in name.groupdict().items()} if name else {}
    number = int(said.get("resolution") or said.get("lookup") or 0)
    setting = (said.get("device", ""), said.get("width", ""))
    held = tuple(sorted({int(size) for size in _STEM.findall(content)}))
    if number in _RESOLUTIONS and held and number not in held:
        raise TableError(
            f"{path}: its name says {number} pixels, its first convolution is of {', '.join(map(str, held))}: rename it"
        )
    if held:
        return _Found(path, setting if number in _RESOLUTIONS else ("", ""), held)
    if number in _RESOLUTIONS and (_ESTABLISHED.fullmatch(path.stem) or _OPERATOR.search(content)):
        return _Found(path, setting, (number,))
    return None


def _device_of(path: Path) -> str:
    folder = path.resolve()
    name = _FOLDER.fullmatch((folder.parent if path.is_file() else folder).name)
    return name["device"] if name else ""


def _holds_tables_of(folder: Path, device: str) -> bool:
    try:
        return find_tables(folder).device == device
    except TableError:
        return False


def _instead(path: Path, files: list[Path]) -> str:
    """What stands at `path` in their place."""
    if path.is_file():
        return "this file holds none of them"
    folders = [sub for sub in sorted(path.iterdir()) if sub.is_dir() and any(map(_is_table, _yaml_files(sub)))]
    if folders:
        return f"they are in its folders {', '.join(sub.name for sub in folders[:4])}: give the path of one"
    if files:
        return f"{', '.join(file.name for file in files[:4])} there hold none of them"
    names = [entry.name for entry in sorted(path.iterdir())[:4]]
    return f"no YAML file is there, but {', '.join(names)}" if names else "the folder is empty"


def _is_table(path: Path) -> bool:
    try:
        return _table(path) is not None
    except TableError:
        return True
