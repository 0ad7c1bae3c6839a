"""The space that a step works on, and networks of it as people give them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from hwnas.data.config import ImageFolderConfig, describe
from hwnas.errors import ArchError, ConfigError, choices
from hwnas.pipeline.config import Arch, SpaceStep
from hwnas.spaces import FAMILIES, Space, SpaceConfig
from hwnas.spaces import make_space as space_of_config

__all__ = ["check_fit", "given_arch", "make_space", "resolve_space"]


def make_space(config: SpaceStep | SpaceConfig | str, **settings: Any) -> Space:
    """The space of a family (`ofa_mbv3`, …) with `settings` of its config, of a config, or of all settings, with the
    data's classes and channels where the space leaves them open.

    Raises ConfigError for an unknown family, and for settings that are not valid.

    >>> space = hwnas.make_space("ofa_mbv3", resolution=(160, 192))
    >>> space.arch(space.extreme(largest=False)).to_dict()["r"]
    160
    >>> hwnas.make_space(hwnas.load_config(["experiment=smoke"])).classes
    10
    """
    if isinstance(config, SpaceStep):
        return resolve_space(config)
    if isinstance(config, str):
        if config not in FAMILIES:
            raise ConfigError(f"space: no family {config!r}; {choices(config, FAMILIES)}")
        known = [one.name for one in fields(FAMILIES[config])]
        if unknown := [name for name in settings if name not in known]:
            raise ConfigError(f"space {config}: no setting {unknown[0]!r}; {choices(unknown[0], known)}")
        config = FAMILIES[config](**settings)
    return space_of_config(config)


def resolve_space(config: SpaceStep) -> Space:
    """The configured space; classes and channels that are 0 are the data set's, and for a folder of images so are those
    of the published spaces, ImageNet's. ConfigError where they differ.
    """
    settings = config.space
    if not isinstance(settings, SpaceConfig):
        raise ConfigError("space: expected a space of conf/space, such as space=ofa_mbv3")
    own = isinstance(config.data, ImageFolderConfig) and config.data.root is not None
    if own and settings.classes == type(settings).classes:  # as published
        settings = replace(settings, classes=0)
    if settings.classes and settings.in_channels:
        return space_of_config(settings)
    described = describe(config.images)
    filled = replace(
        settings,
        classes=settings.classes or len(described.classes),
        in_channels=settings.in_channels or described.channels,
    )
    check_fit(filled, described.name, len(described.classes), described.channels)
    return space_of_config(filled)


def space_of(checkpoint: str) -> SpaceConfig:
    """The space of the supernet in a file, or of one network's parts; its classes and channels are 0, the data's.

    Raises CheckpointError.
    """
    from hwnas.training.start import space_within_checkpoint

    return space_within_checkpoint(Path(checkpoint))


def check_fit(space: Space | SpaceConfig, data_name: str, classes: int, channels: int) -> None:
    for key, expected, found in (("classes", space.classes, classes), ("in_channels", space.in_channels, channels)):
        if expected != found:
            raise ConfigError(
                f"space.{key} is {expected}, but data {data_name} has {found}: give space.{key}=0 to take the data's"
            )


def given_arch(arch: Arch) -> dict[str, Any]:
    """The setting `arch`: a mapping, JSON text, or the path of a JSON file. Raises ArchError for anything else."""
    if isinstance(arch, str):
        try:
            arch = json.loads(Path(arch).read_text() if arch.endswith(".json") else arch)
        except (OSError, ValueError) as error:
            raise ArchError(
                f"arch={arch}: expected a mapping, JSON text or the path of a JSON file ({error})"
            ) from error
    if not isinstance(arch, Mapping):
        raise ArchError(f"arch={arch}: expected a mapping with the keys of the space's archs, such as ks, e, d, r")
    return dict(arch)
