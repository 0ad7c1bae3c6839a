"""docs/architecture.md, held against the code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
