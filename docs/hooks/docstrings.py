"""Sources as pages show them: docstrings as Markdown, defaults as they come out.

Examples, which tests run, become blocks of code, and names of the API links to it.
"""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import griffe

ERRORS, OPTIONAL = "hwnas.errors", "hwnas.pipeline.store.plain.optional"
SOURCE = Path(__file__).resolve().parents[2] / "hwnas" / "errors.py"
NAMES = [one.name for one in ast.parse(SOURCE.read_text("utf-8")).body if isinstance(one, ast.ClassDef)]

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)
NAME = re.compile(r"`(hwnas(?:\.\w+)+)`")
ERROR = re.compile(rf"(?<![`\w.])({'|'.join(NAMES)})(?![`\w])")


class Docstrings(griffe.Extension):
    """Rewrites each docstring, and fields' defaults."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:  # noqa: ARG002
        """Called when a field is read, before signatures are made of them."""
        attr.value = default(attr.value)

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
    """`text` with each error as a link, and each name in full, where a page has it."""
    text = text.replace("::\n\n", ":\n\n")  # what is indented is code in Markdown as well
    text = ERROR.sub(rf"[\1][{ERRORS}.\1]", text)
    return NAME.sub(r'<autoref optional identifier="\1"><code>\1</code></autoref>', text)


def default(value: str | griffe.Expr | None) -> str | griffe.Expr | None:
    """What a field is where nothing is given: None for `optional()`, what a lambda makes for a factory that is one."""
    if isinstance(value, griffe.ExprCall):
        if value.canonical_path == OPTIONAL:
            return "None"
        for given in value.arguments:
            if isinstance(given, griffe.ExprKeyword) and given.name == "default_factory":
                return given.value.body if isinstance(given.value, griffe.ExprLambda) else value
    return value
