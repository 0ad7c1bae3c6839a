"""Docstrings as Markdown: examples, which tests run, become blocks of code, and names of errors become links."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import griffe

ERRORS = "hwnas.errors"
SOURCE = Path(__file__).resolve().parents[2] / "hwnas" / "errors.py"
NAMES = [one.name for one in ast.parse(SOURCE.read_text("utf-8")).body if isinstance(one, ast.ClassDef)]

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)
ERROR = re.compile(rf"(?<![`\w.])({'|'.join(NAMES)})(?![`\w])")


class Docstrings(griffe.Extension):
    """Rewrites each docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:  # noqa: ARG002
        """Called once an object, with its members, is read."""
        if obj.docstring is None:
            return
        text, parts, end = inspect.cleandoc(obj.docstring.value), [], 0
        for example in EXAMPLE.finditer(text):
            parts += [linked(text[end : example.start()]), f"```pycon\n{example[0]}\n```"]
            end = example.end()
        obj.docstring.value = "".join([*parts, linked(text[end:])])


def linked(text: str) -> str:
    """`text` with each error as a link to what it is said to be."""
    return ERROR.sub(rf"[\1][{ERRORS}.\1]", text)
