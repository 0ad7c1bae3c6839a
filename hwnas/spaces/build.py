"""A space from its config, and from what `Space.config()` wrote."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, overload

from hwnas.errors import ConfigError, choices
from hwnas.spaces.ofa_mbv3 import OfaMbv3Config, OfaMbv3Space
from hwnas.spaces.ofa_proxyless import OfaProxylessConfig, OfaProxylessSpace
from hwnas.spaces.ofa_resnet50 import OfaResNet50Config, OfaResNet50Space
from hwnas.spaces.space import Space

__all__ = ["FAMILIES", "SpaceConfig", "make_space", "space_from_dict"]

SpaceConfig = OfaMbv3Config | OfaProxylessConfig | OfaResNet50Config

FAMILIES: dict[str, type[SpaceConfig]] = {
    kind.family: kind for kind in (OfaMbv3Config, OfaProxylessConfig, OfaResNet50Config)
}
"""The config of each family of spaces, by the family's name."""


@overload
def make_space(config: OfaMbv3Config) -> OfaMbv3Space: ...
@overload
def make_space(config: OfaProxylessConfig) -> OfaProxylessSpace: ...
@overload
def make_space(config: OfaResNet50Config) -> OfaResNet50Space: ...
def make_space(config: SpaceConfig) -> Space:
    """The space that `config` describes. Raises ConfigError where its classes or channels are 0."""
    if isinstance(config, OfaResNet50Config):
        return OfaResNet50Space(config)
    return OfaProxylessSpace(config) if isinstance(config, OfaProxylessConfig) else OfaMbv3Space(config)


def space_from_dict(values: dict[str, Any]) -> Space:
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
