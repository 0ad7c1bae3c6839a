"""Lists as code hosts read them.

There what belongs to an item stands under its text, two or three columns in, and a list may follow a line of text.
Python-Markdown wants four columns a level and an empty line before: pages are given that before they are rendered.
"""

from __future__ import annotations

import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

WIDTH = 4
ITEM = re.compile(r"(?:[-*+]|\d+[.)])(?P<gap> {1,4})(?=\S)")
FENCE = re.compile(r"(?:```+|~~~+)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Called with the text of each page."""
    return with_wide_lists(markdown)


def with_wide_lists(markdown: str) -> str:
    """The same text with each level of a list four columns in."""
    lines: list[str] = []
    columns: list[int] = []  # where the text of each open item begins
    fence = ""
    before = ""  # the line before: empty, an item, or text
    for line in markdown.split("\n"):
        text = line.lstrip(" ")
        column = len(line) - len(text)
        if not text:
            lines.append("")
            before = before if fence else ""
            continue
        if fence:
            lines.append(_indented(text, column, columns))
            fence = "" if text.rstrip() == fence else fence
            continue
        item, open_items = ITEM.match(text), len(columns)
        if before != "text" or item or FENCE.match(text):  # else it goes on with the paragraph, however far in
            while columns and column < columns[-1]:
                columns.pop()
        if item and before == "text" and len(columns) == open_items:  # the first of its list
            lines.append("")
        lines.append(_indented(text, column, columns))
        if item and column < (columns[-1] if columns else 0) + WIDTH:
            columns.append(column + item.end())
        found = FENCE.match(text)
        fence = found[0] if found else ""
        before = "item" if item else "text"
    return "\n".join(lines)


def _indented(text: str, column: int, columns: list[int]) -> str:
    inside = column - columns[-1] if columns else column
    return " " * (WIDTH * len(columns) + max(inside, 0)) + text
