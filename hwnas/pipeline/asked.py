"""Settings that were asked for, held against what a file has settled already."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from hwnas.errors import ConfigError
from hwnas.pipeline.config import Step

__all__ = ["refuse_others"]


def refuse_others(config: Step, asked: Set[str], own: Mapping[str, Any], what: str) -> None:
    """Raise ConfigError where a setting in `asked` has another value than `own`, those that `what` is of."""
    for key in sorted(asked & own.keys()):
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if value not in (own[key], (own[key],)):
            shown = value if isinstance(value, (str, int, float)) else ", ".join(map(str, value))
            raise ConfigError(
                f"{key}={shown}: {what} is of {own[key]}, and nothing else is measured of it: leave {key} out"
            )
