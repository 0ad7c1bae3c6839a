from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from hwnas.export.passes import first_line
from hwnas.export.quiet import quiet
from tests.notebooks import executed, said

EXPORT = """
import logging, sys, torch
from torch import nn
from hwnas.export.request import ExportRequest
from hwnas.export.formats import model_format
network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
for name in ("onnx", "tflite"):
    model_format(name).export(ExportRequest(network, torch.zeros(1, 1, 8, 8)), sys.argv[1] + name)
print("printing goes on")
logging.getLogger("x").error("so does logging")
"""


def test_exporting_prints_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EXPORT, f"{tmp_path}/"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "printing goes on\n"
    assert done.stderr == "so does logging\n"


def test_what_is_printed_is_in_the_debug_log(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="hwnas.export.quiet")
    handlers = logging.getLogger().handlers[:]
    with quiet("a library"):
        os.write(1, b"from C, out\n")
        os.write(2, b"from C, err\n")
        logging.getLogger("library").warning("from logging")
        logging.getLogger().addHandler(logging.NullHandler())
        warnings.warn("a warning", stacklevel=1)
    assert capfd.readouterr() == ("", "")
    for text in ("a library printed", "from C, out", "from C, err", "from logging"):
        assert text in caplog.text
    assert logging.getLogger().handlers == handlers
    os.write(1, b"again\n")
    assert capfd.readouterr().out == "again\n"


def test_exceptions_pass_and_output_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), quiet("a library"):
        raise KeyboardInterrupt
    os.write(2, b"again\n")
    assert capfd.readouterr().err == "again\n"


IN_A_NOTEBOOK = """
import logging, os, sys
from rich.console import Console
from hwnas.export.quiet import quiet
logging.getLogger("hwnas.export.quiet").setLevel(logging.DEBUG)
entries = logging.FileHandler("entries.log")
logging.getLogger("hwnas.export.quiet").addHandler(entries)
console, kept = Console(), sys.stderr
with quiet("a library"):
    print("printed")
    kept.write("by a handler\\n")
    os.write(1, b"from C\\n")
    console.print("by rich")
    display("displayed")
print("printing goes on")
kept.write("so do handlers\\n")
console.print("and rich")
"""


def test_a_notebook_shows_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    cells = [nbformat.v4.new_code_cell(IN_A_NOTEBOOK)]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    shown = said(executed(notebook, tmp_path, monkeypatch))
    assert [line.strip() for line in sorted(shown.split("\n")) if line.strip()] == [
        "and rich", "printing goes on", "so do handlers",
    ]  # fmt: skip
    entries = (tmp_path / "entries.log").read_text()
    for text in ("printed", "by a handler", "from C", "by rich", "displayed"):
        assert text in entries


@pytest.mark.parametrize(
    ("message", "expected"),
    [("\n==== \n  the cause \nmore", "the cause"), ("", "ValueError"), ("one line", "one line")],
)
def test_first_line(message: str, expected: str) -> None:
    assert first_line(ValueError(message)) == expected
