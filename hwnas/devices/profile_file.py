"""Reads a profile's YAML: text as it is typed, decimal numbers where numbers belong.

YAML takes 0123456 for an octal number, 1_2345678 for 12345678, 12:30 for 750, 2026-11-28 for a date and no for False.
An address, a name or a serial number is none of these, whatever it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from hwnas.errors import DeviceError

__all__ = ["read_profile"]

_TAG = "tag:yaml.org,2002:"
_KNOWN_TAGS = {f"{_TAG}{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge")}
_KNOWN_TAGS.add(f"{_TAG}value")  # a plain =
_DEEPEST = 10


def read_profile(path: Path, numbers: Collection[str]) -> Any:
    """The file's mappings, lists and scalars: of the keys `numbers` int or float where they are such, else text.

    None stands for nothing (an empty value, `~` or `null`). Raises DeviceError, naming file and line, where the file is
    no YAML of such things, is empty, or has a key twice.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DeviceError(f"{path} is not readable: {error.strerror}") from error
    except UnicodeDecodeError as error:
        place = f"byte 0x{error.object[error.start]:02x} in line {error.object[: error.start].count(10) + 1}"
        raise DeviceError(f"{path} is not UTF-8 text ({place}): save it as UTF-8") from error
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise DeviceError(f"{path} is empty: expected keys and values, such as name: {path.stem}")
            return _Reader(path, loader, numbers).value(node, "", 0)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise DeviceError(f"{path} is not readable YAML: {_reason(error)}") from error


class _Reader:
    def __init__(self, path: Path, loader: yaml.SafeLoader, numbers: Collection[str]) -> None:
        self._path, self._loader, self._numbers = path, loader, numbers

    def value(self, node: yaml.Node, key: str, depth: int) -> Any:
        """What `node` stands for, at the mapping's key `key`."""
        if node.tag not in _KNOWN_TAGS:
            raise self._error(node, f"the tag {node.tag.replace(_TAG, '!!')} is not known here")
        if depth > _DEEPEST:
            raise self._error(node, f"nested more than {_DEEPEST} deep")
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node)
            self._loader.flatten_mapping(node)  # puts in what << names
            return {self.value(name, "", depth + 1): self.value(child, str(name.value), depth + 1)
                    for name, child in node.value}  # fmt: skip
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, key, depth + 1) for child in node.value]
        if node.tag == f"{_TAG}null":
            return None
        text: str = node.value
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return _number(text) if key in self._numbers and is_plain else text

    def _check_keys(self, node: yaml.MappingNode) -> None:
        seen: set[str] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self._error(name, "a key is text, got a list or a mapping")
            if name.value in seen and name.tag != f"{_TAG}merge":
                raise self._error(name, f"the key {name.value!r} stands there twice")
            seen.add(name.value)

    def _error(self, node: yaml.Node, problem: str) -> DeviceError:
        return DeviceError(f"{self._path} is not readable YAML: line {node.start_mark.line + 1}: {problem}")


def _number(text: str) -> Any:
    """A decimal number with a point or an exponent or without; the text itself where it is none."""
    if re.fullmatch(r"[+-]?\d[\d_]*", text):
        return int(text.replace("_", ""))
    if re.fullmatch(r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text.replace("_", ""))
    return text


def _reason(error: yaml.YAMLError) -> str:
    """One line: where, and what was met there."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return " ".join(str(error).split())
    if "\\t" in problem:
        problem = "a tab where a line begins: indent with spaces"
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
