"""A space from its config, and from what `Space.config()` wrote."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hwnas.errors import ConfigError, choices
from hwnas.spaces.ofa_mbv3 import OfaMbv3Config, OfaMbv3Space

__all__ = ["FAMILIES", "SpaceConfig", "make_space", "space_from_dict"]

SpaceConfig = OfaMbv3Config

FAMILIES: dict[str, type[SpaceConfig]] = {kind.family: kind for kind in (OfaMbv3Config,)}
"""The config of each family of spaces, by the family's name."""


def make_space(config: SpaceConfig) -> OfaMbv3Space:
    """The space that `config` describes."""
    return OfaMbv3Space(config)


def space_from_dict(values: dict[str, Any]) -> OfaMbv3Space:
    """The space whose `Space.config()` was written to a checkpoint, table or result.

    Raises ConfigError for a family that doesn't exist, and for missing or unknown keys.
    """
    family = values.get("family")
    if family not in FAMILIES:
        raise ConfigError(f"space config: missing or unknown family {family!r}; {choices(family, FAMILIES)}")
    kind = FAMILIES[family]
    names = {"family", *(field.name for field in fields(kind))}
    if set(values) != names:
        raise ConfigError(f"space config: missing {sorted(names - set(values))}, unknown {sorted(set(values) - names)}")
    given: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in values.items() if key != "family"
    }
    return make_space(kind(**given))
