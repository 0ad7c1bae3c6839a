"""Checkpoints as something to start from: of any space of the family, with any classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hwnas.errors import CheckpointError
from hwnas.spaces import Genotypes, Space, SpaceConfig, settings_of, space_from_dict
from hwnas.spaces.mobile import MobileConfig
from hwnas.supernet.fit import check_family
from hwnas.supernet.published import is_ofa_checkpoint, load_ofa_checkpoint
from hwnas.supernet.published_layers import published_source
from hwnas.supernet.source import Source, own_arch, source_of
from hwnas.training.checkpoint import describe_difference, load_supernet, read_checkpoint

__all__ = [
    "arch_of_checkpoint",
    "check_start",
    "is_exact",
    "read_source",
    "space_of_checkpoint",
    "space_within_checkpoint",
]


def read_source(path: Path) -> Source:
    """What `path` holds, as `hwnas train` or once-for-all's code wrote it, to start from.

    Raises CheckpointError where it is neither.
    """
    if is_ofa_checkpoint(path):
        return published_source(path)
    network, metadata = load_supernet(path)
    names = {tuple(metadata[key]) for key in ("classes", "folders") if metadata.get(key)}
    return source_of(network, str(path), frozenset(names))


def space_of_checkpoint(path: Path | str) -> SpaceConfig:
    """The space that the network in `path` is of; its classes and channels are 0, as the data set has.

    A file of hwnas says it; of once-for-all's it is read off the weights, and off the network's description where that
    lies beside them (the same name, `.json`). Raises CheckpointError where `path` is no network of a space.
    """
    path = Path(path).expanduser()
    if is_ofa_checkpoint(path):
        return published_source(path).settings
    _, metadata = read_checkpoint(path)
    if "space" not in metadata:
        raise CheckpointError(f"{path} holds {metadata.get('kind')!r}, expected a network of hwnas train")
    return replace(settings_of(space_from_dict(metadata["space"])), in_channels=0, classes=0)


def space_within_checkpoint(path: Path | str) -> SpaceConfig:
    """The space whose largest network is the one in `path`: its parts, down to an expansion of 2 and stages of half its
    blocks. Of a supernet, and of a family without bounds, what `space_of_checkpoint` gives. Raises as that does.
    """
    source = read_source(Path(path).expanduser())
    around = replace(source.settings, in_channels=3, classes=2)
    if not isinstance(around, MobileConfig):
        return space_of_checkpoint(path)
    around = replace(around, expand_ratios=tuple(sorted({2, *around.expand_ratios})))
    space = around.space()
    genotype = own_arch(source, space)
    if genotype is None:
        return space_of_checkpoint(path)
    return replace(around, in_channels=0, classes=0, **space.bounds(genotype))


def arch_of_checkpoint(path: Path | str, space: Space) -> Genotypes | None:
    """The canonical genotype `[G]` of `space` that is the one network in `path`; None for supernets, and where the
    space has no such network. Raises CheckpointError as `read_source` does.
    """
    return own_arch(read_source(Path(path).expanduser()), space)


def check_start(path: Path, space: Space) -> None:
    """Raise CheckpointError where a training in `space` can't start from `path`: see `read_source` and `fit`."""
    check_family(read_source(path), space)


def is_exact(path: Path, space: Space, labels: Sequence[tuple[str, ...]] = ()) -> bool:
    """Whether `path` holds a supernet or network of `space` itself, trained on one of `labels`, the data's class names,
    as far as the file says: it is then loaded as it is. Raises CheckpointError for a file that is no checkpoint.
    """
    if is_ofa_checkpoint(path):
        try:
            load_ofa_checkpoint(path, space)
        except CheckpointError:
            return False
        return True
    _, metadata = read_checkpoint(path)
    if describe_difference(space.config(), metadata.get("space"), "space"):
        return False
    names = {tuple(metadata[key]) for key in ("classes", "folders") if metadata.get(key)}
    return not names or not labels or bool(names & set(labels))
