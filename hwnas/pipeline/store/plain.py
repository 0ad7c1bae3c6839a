"""Settings and results as what JSON holds, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from hwnas.errors import StorageError

__all__ = ["from_plain", "optional", "to_plain", "without_path"]

T = TypeVar("T")

_OPTIONAL = {"optional": True}


def optional() -> Any:
    """A field of a result that is None, and left out of JSON, where there is nothing to say."""
    return dataclasses.field(default=None, metadata=_OPTIONAL)


def to_plain(value: Any) -> Any:
    """Dataclasses as dicts, tuples as lists and paths as text: JSON-able, and what a step's inputs are compared by.

    Optional fields that say nothing are left out: inputs of an earlier version, which did not know them, are the same.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        left_out = {field.name for field in dataclasses.fields(value) if field.metadata == _OPTIONAL}
        return {key: to_plain(one) for key, one in values.items() if key not in left_out or one not in (None, ())}
    if isinstance(value, Mapping):
        return {key: to_plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: type[T], value: Any, source: Path) -> T:
    """The `kind`, a dataclass, that `to_plain` made `value` of; keys that it does not know are of other versions.

    Raises StorageError, naming `source` and the place in it, where a key is missing or has a value of another type.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise StorageError(f"{source}: {error}; it was not written by hwnas: make it again") from error


def without_path(config: Any) -> Any:
    """`to_plain` of settings with a `path`, which is no input of a step: the file that lies there is."""
    return {key: value for key, value in to_plain(config).items() if key != "path"}
