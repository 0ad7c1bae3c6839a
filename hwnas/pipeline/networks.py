"""Spaces and trained networks, as they are used by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.accuracy.measure_config import MeasureConfig
from hwnas.data.config import DataConfig
from hwnas.errors import ConfigError, choices
from hwnas.pipeline.config import SpaceStep
from hwnas.pipeline.inputs import resolve_space
from hwnas.progress import no_progress
from hwnas.spaces import FAMILIES, Space, SpaceConfig
from hwnas.spaces import make_space as space_of_config

if TYPE_CHECKING:
    from torch import nn

    from hwnas.supernet.single import TrainedNetwork

__all__ = ["load_supernet", "make_space", "network_of"]


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


def load_supernet(path: Path | str, space: Space | None = None) -> TrainedNetwork:
    """The supernet, or the one network, that training wrote to `path`, in eval mode on the CPU.

    Checkpoints that once-for-all published say nothing of their `space`: give it. Raises CheckpointError for a file
    that is none of these, or is not of `space`.

    >>> supernet = hwnas.load_supernet("runs/mine/train/supernet.safetensors")
    >>> supernet.space.name
    'ofa_mbv3_smoke'
    """
    from hwnas.training.checkpoint import load_any
    from hwnas.training.checkpoint import load_supernet as load_own

    path = Path(path).expanduser()
    return load_own(path)[0] if space is None else load_any(path, space)


def network_of(
    arch: Mapping[str, Any], trained: TrainedNetwork, images: DataConfig | None = None, seed: int = 0
) -> nn.Module:
    """The network of `arch` with the weights in `trained`, in eval mode.

    With `images` its BatchNorm is calibrated on those that `seed` holds out, as for every measured accuracy; without,
    its statistics are the supernet's, which belong to no subnet. Raises ArchError for an arch of another space.
    """
    from hwnas.accuracy.measure import calibrate_subnet
    from hwnas.data.load import load_data
    from hwnas.supernet.extract import extract

    genotype = trained.space.genotype(arch)
    if images is None:
        return extract(trained, genotype).eval()
    return calibrate_subnet(trained, genotype, load_data(images, seed, no_progress), MeasureConfig())
