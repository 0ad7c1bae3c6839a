"""A space's settings as files have them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

__all__ = ["described"]


def described(settings: Any) -> dict[str, Any]:
    """The settings of a family, JSON-able: what `Space.config` gives, and `space_from_dict` reads."""
    values: dict[str, Any] = _listed(asdict(settings))
    return {"family": settings.family, **values}


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(one) for key, one in value.items()}
    return [_listed(one) for one in value] if isinstance(value, (list, tuple)) else value
