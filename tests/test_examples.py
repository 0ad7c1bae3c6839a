"""The notebooks in `examples/`: they run from the first cell to the last; the repository has them without outputs."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.notebooks import ROOT, executed, said

EXAMPLES = ROOT / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def notebook(name: str, more: str = "") -> Any:
    """The notebook, with a cell `more` at the end."""
    import nbformat

    found = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    if more:
        found.cells.append(nbformat.v4.new_code_cell(more))  # type: ignore[no-untyped-call]
    return found


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS] == ["compare_devices.ipynb", "my_images_to_tflite.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(path, "markdown"))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert "://" in link or (EXAMPLES / link).exists(), link


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_public_names_alone(path: Path) -> None:
    """What a notebook imports of hwnas is `hwnas` itself, and what it takes of that is in `hwnas.__all__`."""
    import hwnas

    tree = ast.parse("\n".join("".join(cell["source"]) for cell in cells(path, "code")))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [name for name in node.names if name.name.startswith("hwnas.")]
        elif isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("hwnas")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "hwnas":
            assert node.attr in hwnas.__all__


@pytest.mark.slow
@pytest.mark.timeout(900)  # 75 s on two cores
def test_my_images_to_tflite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = said(executed(notebook("my_images_to_tflite"), tmp_path, monkeypatch))
    run = tmp_path / "runs" / "mine"
    targets = json.loads((run / "result.json").read_text(encoding="utf-8"))["result"]["targets"]
    assert [target["budget"] for target in targets] == ["q20", "q50", "q90"]
    for target in targets:
        assert target["accuracy_exported"] > 0.9, target["id"]
        assert Path(target["file"]).name == "model.tflite"
    assert "model.tflite: good" in shown
    assert "digit 9" in shown
    for chatter in ("LiteRT-Torch Convert", "_pytree.py"):  # libraries', not ours
        assert chatter not in shown


@pytest.mark.slow
def test_compare_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = 'import sys\nprint("torch loaded:", "torch" in sys.modules)'
    shown = said(executed(notebook("compare_devices", loaded), tmp_path, monkeypatch))
    for part in ("emerald_rapids_2_cores litert int8 2t", "raspberry_pi_5 (rough)", "no estimate, for want of facts"):
        assert part in shown
    assert "torch loaded: False" in shown
    assert "pixel_8 (peak_gmacs and bandwidth_gb_s)" in shown
