"""A space from its config, and from what `Space.config()` wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol, TypeVar, get_args

from hwnas.errors import ConfigError, choices
from hwnas.spaces.darts import DartsConfig
from hwnas.spaces.from_file import FileSpaceConfig
from hwnas.spaces.mobile import BOUNDS
from hwnas.spaces.mobilenet_v4 import MobileNetV4Config
from hwnas.spaces.nasbench201 import NasBench201Space
from hwnas.spaces.nasbench201_networks import NasBench201Config
from hwnas.spaces.nasbench_macro import NasBenchMacroConfig
from hwnas.spaces.ofa_mbv3 import OfaMbv3Config
from hwnas.spaces.ofa_proxyless import OfaProxylessConfig
from hwnas.spaces.ofa_resnet50 import OfaResNet50Config
from hwnas.spaces.reparameterised import ReparameterisedConfig
from hwnas.spaces.space import Space

__all__ = ["FAMILIES", "PUBLISHED_ON", "SpaceConfig", "make_space", "settings_of", "space_from_dict"]

SpaceConfig = (
    OfaMbv3Config
    | OfaProxylessConfig
    | OfaResNet50Config
    | MobileNetV4Config
    | ReparameterisedConfig
    | NasBench201Config
    | DartsConfig
    | NasBenchMacroConfig
    | FileSpaceConfig
)
"""A space, by its family's settings."""

FAMILIES: dict[str, type[SpaceConfig]] = {kind.family: kind for kind in get_args(SpaceConfig)}
"""The config of each family of spaces, by the family's name."""

PUBLISHED_ON: dict[str, Callable[[], Space]] = {
    "nasbench201": NasBench201Space,
    "ofa_mbv3": lambda: make_space(OfaMbv3Config(resolution=tuple(range(128, 225, 4)))),
}
"""The spaces that measurements are published on, by name: each holds every architecture that was measured."""

Made = TypeVar("Made", bound=Space, covariant=True)


class _Config(Protocol[Made]):
    """What each config says: which space it is of."""

    def space(self) -> Made:
        """The space that it describes. Raises ConfigError where its classes or channels are 0."""
        ...


def make_space(config: _Config[Made]) -> Made:
    """The space that `config` describes. Raises ConfigError where its classes or channels are 0."""
    return config.space()


def settings_of(space: Space) -> SpaceConfig:
    """What a space of one of the families was made of. Raises TypeError for others, which no supernet is made for."""
    settings = getattr(space, "settings", None)
    if isinstance(settings, SpaceConfig):
        return settings
    raise TypeError(f"space {space.name}: expected one of {', '.join(FAMILIES)}, got {type(space).__name__}")


def space_from_dict(values: dict[str, Any]) -> Space:
    """The space whose `Space.config()` was written to a checkpoint, table or result.

    Raises ConfigError for a family that doesn't exist, and for missing or unknown keys.
    """
    family = values.get("family")
    if family not in FAMILIES:
        raise ConfigError(f"space config: missing or unknown family {family!r}; {choices(family, FAMILIES)}")
    kind = FAMILIES[family]
    names = {"family", *(field.name for field in fields(kind))}
    missing, unknown = sorted(names - set(values) - set(BOUNDS)), sorted(set(values) - names)
    if missing or unknown:
        raise ConfigError(f"space config: missing {missing}, unknown {unknown}")
    stages = getattr(kind, "stages", ())
    given: dict[str, Any] = {
        key: _read(value, type(stages[0]) if stages else None) for key, value in values.items() if key != "family"
    }
    return kind(**given).space()


def _read(value: Any, stage: Any) -> Any:
    """Lists as tuples, and mappings in lists as `stage`, the family's class of stages."""
    if isinstance(value, list):
        return tuple(
            stage(**{key: _read(own, None) for key, own in one.items()}) if isinstance(one, dict) else _read(one, None)
            for one in value
        )
    return value
