"""Settings and results as what JSON holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

__all__ = ["to_plain", "without_path"]


def to_plain(config: Any) -> Any:
    """Dataclasses as dicts and tuples as lists, JSON-able: what a step's inputs are compared by."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {field.name: to_plain(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_plain(value) for value in config]
    return config


def without_path(config: Any) -> Any:
    """`to_plain` of settings with a `path`, which is no input of a step: the file that lies there is."""
    return {key: value for key, value in to_plain(config).items() if key != "path"}
