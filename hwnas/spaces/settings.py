"""What the settings of all families have in common: as files have them, and with the data set's numbers in them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hwnas.errors import ConfigError

__all__ = ["check_known", "described"]


def described(settings: Any) -> dict[str, Any]:
    """The settings of a family, JSON-able: what `Space.config` gives, and `space_from_dict` reads."""
    values: dict[str, Any] = _listed(asdict(settings))
    return {"family": settings.family, **values}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value


def check_known(settings: Any) -> None:
    """Raise ConfigError where `in_channels` or `classes` are still 0, "as the data set has"."""
    if not settings.in_channels or not settings.classes:
        raise ConfigError("space.in_channels and space.classes: expected the data set's numbers, got 0")
