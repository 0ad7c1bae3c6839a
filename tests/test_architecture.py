"""docs/architecture.md and the conventions, held against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parents[1]
PICTURE, SVG, EDGES = (
    ROOT / "docs" / "images" / "rooms.svg",
    "{http://www.w3.org/2000/svg}",
    ("x", "y", "width", "height"),
)
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROOMS = {path.stem for path in (ROOT / "hwnas").iterdir() if path.is_dir() or path.suffix == ".py"} - {
    "__init__", "__pycache__", "packaged",
}  # fmt: skip


def test_its_layers_are_the_contract() -> None:
    contract = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M | re.S)
    assert contract is not None
    held = [set(re.findall(r"\w+", line)) for line in contract[1].splitlines()]
    shown = [set(re.findall(r"`(\w+)`", row)) for row in re.findall(r"^\| (?:top|bottom|) ?\| (.*) \|$", PAGE, re.M)]
    assert [one for one in shown if one <= ROOMS] == held
    assert set().union(*held) == ROOMS


def test_every_room_has_a_paragraph() -> None:
    packages = {path.name for path in (ROOT / "hwnas").iterdir() if (path / "__init__.py").exists()}
    described = set(re.findall(r"^\*\*`(\w+)`\*\*", PAGE, re.M))
    assert packages <= described


def test_files_that_it_names_exist() -> None:
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", PAGE))
    assert named
    missing = [name for name in named if not any((folder / name).exists() for folder in (ROOT, ROOT / "hwnas"))]
    assert not missing


def test_its_picture_has_every_room() -> None:
    assert f"]({PICTURE.relative_to(ROOT / 'docs')})" in PAGE
    picture = ET.parse(PICTURE).getroot()  # noqa: S314 (our own file)
    boxes = {one.attrib["id"]: one for one in picture.iter(f"{SVG}rect")}
    named = {one.text for one in picture.iter() if "name" in one.get("class", "").split()} - {"import hwnas"}
    assert set(boxes) == named == ROOMS


def test_its_arrows_join_the_rooms_that_they_name() -> None:
    picture = ET.parse(PICTURE).getroot()  # noqa: S314
    boxes = {one.attrib["id"]: [float(one.attrib[key]) for key in EDGES] for one in picture.iter(f"{SVG}rect")}
    flows = [one for one in picture.iter(f"{SVG}path") if one.get("class") == "flow"]
    for one in flows:
        points = corners(one.attrib["d"])
        for (x, y), name in ((points[0], one.attrib["data-from"]), (points[-1], one.attrib["data-to"])):
            left, top, width, height = boxes[name]
            on_a_side = x in (left, left + width) and top <= y <= top + height
            assert on_a_side or (y in (top, top + height) and left <= x <= left + width), one.attrib
    folders = {path.name for path in (ROOT / "hwnas").iterdir() if (path / "__init__.py").exists()}
    assert {one.attrib[end] for one in flows for end in ("data-from", "data-to")} == folders


def corners(path: str) -> list[tuple[float, float]]:
    """The points of a path of horizontal and vertical lines."""
    steps = re.findall(r"([MHV])([\d.]+)(?: ([\d.]+))?", path)
    points = [(float(steps[0][1]), float(steps[0][2]))]
    for kind, value, _ in steps[1:]:
        x, y = points[-1]
        points.append((float(value), y) if kind == "H" else (x, float(value)))
    return points


def test_values_are_frozen() -> None:
    """A dataclass with settings is a value; a plain `@dataclass` holds what changes while something is made."""
    thawed, found = [], 0
    for path in sorted((ROOT / "hwnas").rglob("*.py")):
        classes = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]
        for made, name in ((ast.unparse(one), kind.name) for kind in classes for one in kind.decorator_list):
            if made.startswith("dataclass("):
                found += 1
                thawed += [] if "frozen=True" in made else [f"{path.relative_to(ROOT)}: {name}"]
    assert found > 100
    assert not thawed
