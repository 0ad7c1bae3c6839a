"""Errors of the library, in the command line's words."""

from __future__ import annotations

from pathlib import Path

import pytest

import hwnas
from hwnas.cli.main import main


def test_an_argument_is_named_as_a_setting(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    folder = tmp_path / "file" / "train"
    with pytest.raises(hwnas.HwnasError, match=r"choose another folder$"):
        hwnas.train(hwnas.load_config(["experiment=smoke"]), folder)
    assert main(["train", "experiment=smoke", f"hydra.run.dir={folder}"]) == 1
    line = capsys.readouterr().err.strip()
    assert line.startswith(f"hwnas: error: cannot write {folder}")
    assert line.endswith("choose another folder with name=… or hydra.run.dir=…")
    assert "\n" not in line
