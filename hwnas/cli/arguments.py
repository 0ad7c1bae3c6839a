"""Arguments as users type them, in Hydra's syntax: what is text by its schema stays as typed, one value may be a list.

Hydra's own grammar reads `87681e28` as a number, `1_2` as 12, and refuses paths with brackets, equals signs or quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, Node

from hwnas.errors import ConfigError

__all__ = ["in_hydras_syntax", "quoted"]

_SWEEPS = ("-m", "--multirun")
_SWEEP_FUNCTION = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(.*\)")
_HYDRAS_TEXT = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
_TEXT_OR_MAPPING = ("arch",)
_LISTS = ("runtime",)
"""Settings whose type is left open, since they may be one of two."""


def in_hydras_syntax(
    arguments: Sequence[str], positional: str | None, compose: Callable[[Sequence[str]], DictConfig], groups: set[str]
) -> list[str]:
    """`arguments`, each so that Hydra reads what was meant. `compose` gives the settings for choices of `groups`.

    An argument without a key is the value of `positional`; `device=NAME` is short for `device.name=NAME`, since
    profiles are files of their own, `device=[…]` for `devices=[…]`, `fleet=FILE` for `fleet.file=FILE`, and
    `data.augment=NAME` for Hydra's `data/augment=NAME`, and `space=FILE.py:NAME` for the space that a file makes.
    Raises ConfigError for what has no key, and for several values without brackets.
    """
    sweeps = any(argument in _SWEEPS for argument in arguments)
    plain = [
        _with_key(argument, before, positional) for before, argument in zip(["", *arguments], arguments, strict=False)
    ]
    plain = [part for argument in plain for part in _space_of_file(argument)]
    choices = [argument for argument in plain if argument.partition("=")[0] in groups]
    settings: DictConfig | None = None
    # Hydra takes settings in one piece, and its flag for sweeps not between them.
    found = [argument for argument in plain if argument in _SWEEPS]
    for argument in (argument for argument in plain if argument not in _SWEEPS):
        key, separator, value = argument.partition("=")
        if argument.startswith("-") or not separator or key in groups:
            found.append(argument)
            continue
        settings = _composed(compose, choices) if settings is None else settings
        name = key.lstrip("+")
        kind = _kind(settings, name)
        if not name.startswith("device.") and value.startswith("~/"):  # a device has its own home
            value = str(Path(value).expanduser())
        found.append(f"{key}={_value(name, value, kind, sweeps)}")
    return found


def quoted(text: str) -> str:
    """`text` as Hydra takes it literally: in single quotes, with those inside it escaped."""
    inside = re.sub(r"(\\*)'", r"\1\1\\'", text)
    trailing = len(inside) - len(inside.rstrip("\\"))
    return f"'{inside}{inside[len(inside) - trailing :]}'"


def _with_key(argument: str, before: str, positional: str | None) -> str:
    key, separator, value = argument.partition("=")
    if argument.startswith("-") or (before.startswith("-") and before not in _SWEEPS):
        return argument  # a flag of Hydra's, or its value
    if positional and (not separator or Path(argument).exists()):
        return f"{positional}={argument}"
    if not separator:
        if argument.startswith("~"):
            return argument  # Hydra's way to leave a setting out
        raise ConfigError(
            f"{argument!r} is no setting: expected key=value, such as seed=1; which key takes it is listed by --help"
        )
    if key == "device" and value.startswith("["):
        return f"devices={value}"
    if key == "device" and not value.startswith("{"):
        return f"device.name={value}"
    if key == "fleet" and not value.startswith("{"):
        return f"fleet.file={value}"
    if key == "data.augment" and not value.startswith("{"):
        return f"data/augment={value}"
    return argument


def _space_of_file(argument: str) -> list[str]:
    key, _, value = argument.partition("=")
    if key == "space" and ":" in value and not value.startswith("{"):
        return ["space=from_file", f"space.file={value}"]
    return [argument]


def _composed(compose: Callable[[Sequence[str]], DictConfig], choices: Sequence[str]) -> DictConfig:
    """The settings for the first of each swept choice, or without any where they don't go together: told later."""
    try:
        return compose([_first_of(choice) for choice in choices])
    except Exception:  # noqa: BLE001 (whatever is wrong with the choices is said where all is composed)
        return compose([])


def _first_of(choice: str) -> str:
    key, _, value = choice.partition("=")
    return f"{key}={_parts(value)[0]}"


def _kind(settings: DictConfig, name: str) -> str:
    """`text`, `texts`, `list` or `other`, by the schema of the setting `name`."""
    if name in _HYDRAS_TEXT:
        return "text"
    if name in _TEXT_OR_MAPPING:
        return "text or mapping"
    if name in _LISTS:
        return "texts"
    node: Any = settings
    for part in name.split("."):
        if not isinstance(node, DictConfig) or part not in node:
            return "other"
        node = node._get_node(part)
    if isinstance(node, ListConfig):
        return "texts" if node._metadata.element_type is str else "list"
    if not isinstance(node, Node):
        return "other"
    declared = node._metadata.ref_type
    if isinstance(declared, type) and issubclass(declared, str):
        return "text"
    return "list" if "tuple" in str(declared).lower() or "list" in str(declared).lower() else "other"


def _value(name: str, value: str, kind: str, sweeps: bool) -> str:
    if "${" in value or (sweeps and _SWEEP_FUNCTION.fullmatch(value)):
        return value
    if kind == "text or mapping":
        # JSON quotes its keys, which Hydra does not.
        return re.sub(r'"(\w+)"\s*:', r"\1: ", value) if value.startswith("{") else _text(value, sweeps)
    if kind == "text":
        return _text(value, sweeps)
    if kind in ("texts", "list"):
        return _list(name, value, kind, sweeps)
    return value


def _text(value: str, sweeps: bool) -> str:
    if sweeps:
        return ",".join(_one_text(part) for part in _parts(value))
    return _one_text(value)


def _one_text(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value if is_quoted or value == "null" else quoted(value)


def _list(name: str, value: str, kind: str, sweeps: bool) -> str:
    if value.startswith("[") and value.endswith("]") and len(_parts(value)) == 1:
        inside = _parts(value[1:-1])
        nested = any(part.startswith(("[", "{")) for part in inside)
        return f"[{','.join(map(_one_text, inside))}]" if kind == "texts" and not nested and value != "[]" else value
    if value == "null":
        return value
    parts = _parts(value) if value else []
    if sweeps and len(parts) > 1:
        return ",".join(_list(name, part, kind, sweeps=False) for part in parts)
    if len(parts) > 1:
        raise ConfigError(
            f"{name}={value}: several values are a list in brackets: {name}=[{value}]; with -m, one run for each"
        )
    return f"[{','.join(_one_text(part) if kind == 'texts' else part for part in parts)}]"


def _parts(value: str) -> list[str]:
    """`value` divided at its commas, but for those in quotes or brackets; blanks around the parts are dropped."""
    parts, depth, quote = [""], 0, ""
    for character in value:
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"" and not parts[-1].strip():  # one inside a word is an apostrophe
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += character
    return [part.strip() for part in parts]
