"""Weights put into a network of another shape: what fits is loaded, and the result computes what they computed.

A smaller kernel lies in the centre of a larger, zeros around it. Fewer channels are the first ones; what is read of the
channels beyond them has weights of zero. A block too many is the identity at first. Of larger layers the first part is
taken: a supernet's channels are sorted by importance.

Shapes: M output channels, C input channels, k × k filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hwnas.errors import CheckpointError
from hwnas.spaces import Space, settings_of
from hwnas.supernet.layers.blocks import Startable
from hwnas.supernet.layers.elastic import SharedLayer
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.source import Source, places

__all__ = ["Loaded", "check_family", "fit"]

_CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Loaded:
    """What came of loading: `line` says it; `new` are the names of the parameters that got nothing at all."""

    line: str
    new: frozenset[str]


@torch.no_grad()
def fit(network: TrainedNetwork, source: Source, labels: Sequence[tuple[str, ...]] = ()) -> Loaded:
    """Load what fits of `source` into `network`, which has fresh weights.

    The classifier is loaded where the source's classes have the names of one of `labels`; where either has no names,
    where their number is the same. Raises CheckpointError, before anything is loaded, for a source of another family.
    """
    check_family(source, network.space)
    where = places(settings_of(network.space))
    inner = network.network if isinstance(network, SingleNetwork) else network.layers
    prefix = "network." if isinstance(network, SingleNetwork) else "layers."
    used, new_parameters, new_layers = 0, set[str](), list[str]()
    for slot, layer in inner.named_children():
        if not any(True for _ in layer.parameters()):
            continue
        given = source.layers.get(where.get(slot, slot), {})
        if slot == _CLASSIFIER and not _same_classes(source, labels, network.space.classes):
            given = {}
        loaded = _fit_layer(layer, given, source, slot == "stem")
        used += len(loaded)
        if not loaded:
            new_layers.append(f"{slot} ({network.space.classes} classes)" if slot == _CLASSIFIER else slot)
        new_parameters |= {
            f"{prefix}{slot}.{name}" for name, _ in layer.named_parameters() if name.removeprefix("full.") not in loaded
        }
    said = f"loaded {used} of {source.tensors} tensors of {source.name}"
    return Loaded(said + (f"; new: {', '.join(new_layers)}" if new_layers else ""), frozenset(new_parameters))


def check_family(source: Source, space: Space) -> None:
    """Raise CheckpointError where `source` is of another family than `space`."""
    theirs, own = source.settings.family, space.config()["family"]
    if theirs != own:
        raise CheckpointError(
            f"{source.name}: weights of {theirs}, expected those of {own}, the family of space {space.name}: choose"
            f" space={theirs} or another space of that family, or a checkpoint of {own}"
        )


def _same_classes(source: Source, labels: Sequence[tuple[str, ...]], count: int) -> bool:
    given = source.layers.get(_CLASSIFIER, {}).get("bias")
    if given is None or len(given) != count:
        return False
    return not source.classes or not labels or bool(source.classes & set(labels))


def _fit_layer(layer: nn.Module, given: Mapping[str, Tensor], source: Source, is_stem: bool) -> set[str]:
    """The names, in the static layer, of the tensors that were loaded."""
    static = layer.full if isinstance(layer, SharedLayer) else layer
    if not given or not _same_parts(static, given):
        if isinstance(static, Startable):
            static.make_identity()
        return set()
    given = dict(given)
    if isinstance(layer, SharedLayer | Startable):
        layer.adapt(given, source.elastic)
    loaded = given.keys() & {name for name, _ in layer.named_parameters()}
    for name, module in static.named_modules():
        for key, value in module.named_parameters(recurse=False):
            full = f"{name}.{key}".lstrip(".")
            if full in given:
                dense = value.ndim > 1 and getattr(module, "groups", 1) == 1
                found = _for_images(value, given[full]) if is_stem and dense else given[full]
                (_put_dense if dense else _put)(value, found)
                loaded.add(full)
        for key, value in module.named_buffers(recurse=False):
            full = f"{name}.{key}".lstrip(".")
            if full in given and value is not None:
                _put(value, given[full])
                loaded.add(full)
    if isinstance(static, Startable):
        static.make_up(given)
    return loaded


def _same_parts(static: nn.Module, given: Mapping[str, Tensor]) -> bool:
    """Whether both have an expansion, and a shortcut with weights, or neither has."""
    names = {name.partition(".")[0] for name in static.state_dict()}
    theirs = {name.partition(".")[0] for name in given}
    return all((part in names) == (part in theirs) for part in ("expansion", "downsample"))


def _put(target: Tensor, given: Tensor) -> None:
    """The leading channels."""
    count = min(len(target), len(given))
    target[:count] = given[:count]


def _put_dense(target: Tensor, given: Tensor) -> None:
    """`[M, C, …]`: the leading channels; what these read of further input channels is 0."""
    rows, columns = (min(a, b) for a, b in zip(target.shape[:2], given.shape[:2], strict=True))
    target[:rows, columns:] = 0
    target[:rows, :columns] = given[:rows, :columns]


def _for_images(target: Tensor, given: Tensor) -> Tensor:
    """`[M, C, k, k]` for images of as many channels as the target reads: grey is the sum of colours, and back."""
    if given.shape[1] == target.shape[1]:
        return given
    return given.sum(dim=1, keepdim=True).expand(-1, target.shape[1], -1, -1) / target.shape[1]
