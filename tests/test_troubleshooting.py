"""docs/troubleshooting.md quotes messages that exist: each one's fixed parts stand in one text of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
OTHERS = "No error, and yet"
"""The section of what is no message."""


def quoted() -> list[str]:
    """The first cell of each row, what it has in backticks."""
    messages = PAGE.partition(f"## {OTHERS}")[0]
    rows = [line for line in messages.splitlines() if line.startswith("| ") and not line.startswith("| the message")]
    found = [re.match(r"\| `([^`]+)` \|", row) for row in rows]
    assert all(found), [row for row, match in zip(rows, found, strict=True) if not match]
    return [match[1] for match in found if match]


def template(node: ast.expr) -> str:
    """A text of the code with … where values come in; what is put together with + is one text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "…"
    if isinstance(node, ast.JoinedStr):
        return "".join(template(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return "…"


@cache
def texts() -> tuple[str, ...]:
    """All texts of the code but docstrings, without backticks, which the page can't quote."""
    found: dict[str, None] = {}
    for path in sorted((ROOT / "hwnas").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        documentation = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp)) and node not in documentation:
                found[template(node).replace("`", "")] = None
    return tuple(found)


def in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True


def fixed(message: str) -> Iterator[str]:
    yield from filter(None, message.split("…"))


def test_the_page_has_messages_of_every_step() -> None:
    assert len(quoted()) > 100
    assert len(set(quoted())) == len(quoted())


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_the_codes(message: str) -> None:
    parts = list(fixed(message))
    assert sum(len(part.strip(" :;,()")) for part in parts) >= 8, "nothing to recognise it by"
    assert any(in_order(parts, text) for text in texts()), f"no message of the code reads {message!r}"


def test_a_message_that_does_not_exist_is_noticed() -> None:
    assert not any(in_order(["no network of space ", " meets the eye"], text) for text in texts())
