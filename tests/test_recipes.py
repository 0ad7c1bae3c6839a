"""docs/contributing/: files, folders, names and tests that the recipes point to exist, and their code is Python."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "contributing").glob("*.md"))
MADE = {
    "format": ("hwnas/export/pt2/format.py", "hwnas/export/synthetic/pt2.py", "hwnas/export/bundle/example/pt2.py"),
    "runtime": (),
    "operator": ("hwnas/operators/ghost.py",),
    "space": ("hwnas/spaces/plain.py", "conf/space/plain.yaml"),
    "device": ("hwnas/devices/shell.py",),
    "searcher": ("hwnas/search/methods/annealing.py",),
}
"""What a recipe writes."""
NAMED = re.compile(r"`?((?:hwnas|tests|conf|device_profiles|benchmarks)/[\w/.]+\w)")


def test_there_is_a_recipe_for_each() -> None:
    assert {page.stem for page in PAGES} == set(MADE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_it_points_to_exists(page: Path) -> None:
    named = set(NAMED.findall(page.read_text("utf-8"))) - set(MADE[page.stem])
    assert len(named) > 3
    assert not [name for name in sorted(named) if not (ROOT / name).exists()]
    assert not [name for name in MADE[page.stem] if (ROOT / name).exists()], "an example that became part of hwnas"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_names_stand_in_the_files_that_it_says(page: Path) -> None:
    """ "`NAME` … in `path`": of lists to register in, classes to derive from, and tests to extend."""
    said = re.findall(r"`(\w+)`[^`|\n]*? in\s+`([\w/]+\.py)`", page.read_text("utf-8"))
    assert said or page.stem == "device"
    for name, path in said:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8")), f"{name} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_code_imports_what_there_is(page: Path) -> None:
    own = {path.removesuffix(".py").replace("/", ".") for path in MADE[page.stem]} | {"AnnealingConfig"}
    for block in re.findall(r"^ *```python\n(.*?)^ *```", page.read_text("utf-8"), flags=re.M | re.S):
        for node in ast.walk(ast.parse(textwrap.dedent(block))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hwnas"):
                place = ROOT / (node.module or "").replace(".", "/")
                source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                text = source.read_text("utf-8")
                assert not [one.name for one in node.names if one.name not in own and one.name not in text]
