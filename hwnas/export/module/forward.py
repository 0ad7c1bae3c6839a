"""A network's `forward` as exporters need it: tensors in by position, a tuple of tensors out."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import ExportError, choices
from hwnas.export.signature import Port

__all__ = ["Bound", "Flat", "Leaf", "bind", "first_channels", "flat_network", "is_tensor", "leaves", "output_ports"]

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Bound:
    """The inputs, named, and by which keyword each goes into `forward` (None: by its place)."""

    ports: tuple[Port, ...]
    keywords: tuple[str | None, ...]


@dataclass(frozen=True)
class Leaf:
    """One value of what `forward` gives: where it stands there, a name made of that, and the value."""

    path: Path
    name: str
    value: Any


class Flat(nn.Module):
    """The network with its inputs by position and the outputs at `paths` as a tuple, or as one tensor."""

    def __init__(self, wrapped: nn.Module, keywords: Sequence[str | None], paths: Sequence[Path]) -> None:
        super().__init__()
        self.wrapped, self.keywords, self.paths = wrapped, tuple(keywords), tuple(paths)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = dict(leaf_of(self.wrapped, inputs, self.keywords))
        found = tuple(values[path] for path in self.paths)
        return found if len(found) > 1 else found[0]


def leaf_of(network: nn.Module, inputs: Sequence[Tensor], keywords: Sequence[str | None]) -> Iterator[tuple[Path, Any]]:
    """All that `network` gives, by its path."""
    placed = [value for value, keyword in zip(inputs, keywords, strict=True) if keyword is None]
    named = {keyword: value for value, keyword in zip(inputs, keywords, strict=True) if keyword is not None}
    return ((leaf.path, leaf.value) for leaf in leaves(network(*placed, **named)))


def bind(module: nn.Module, given: tuple[Port, ...] | None, image: Port) -> Bound:
    """What goes into `module.forward`: `image` alone, or what was `given`, named by its parameters and in their order.

    Raises ExportError where these are not the inputs that it takes, with the line to give.
    """
    parameters = _parameters(module)
    placed = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    more = next((one.name for one in parameters if one.kind == one.VAR_POSITIONAL), None)
    needed = [one.name for one in parameters if one.default is one.empty and one.kind not in _VARIABLE]
    channels = first_channels(module)
    if len(needed) > 1 and channels not in (None, image.shape[1]):  # the line to give should fit the network
        image = replace(image, shape=(1, channels or 1, 224, 224))
    if given is None:
        return _bind_image(image, parameters, placed, more, needed)
    if all(not port.name for port in given):
        if (len(given) > len(placed) and more is None) or len(given) < len(needed):
            raise ExportError(
                f"export.inputs: got {len(given)}, and the network's forward takes {_listed(parameters)}:"
                f" {_line(parameters, needed, image)}"
            )
        names = [one.name for one in placed] + [f"{more}_{number}" for number in range(len(given))]
        ports = tuple(replace(port, name=name) for port, name in zip(given, names, strict=False))
        missing = [name for name in needed if name not in [port.name for port in ports]]
        _refuse_missing(missing, parameters, needed, image)
        return Bound(ports, (None,) * len(ports))
    return _bind_named(given, parameters, more, needed, image)


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _bind_image(
    image: Port, parameters: Sequence[Any], placed: Sequence[Any], more: str | None, needed: Sequence[str]
) -> Bound:
    if len(needed) > 1:
        raise ExportError(
            f"export: the network's forward takes {len(needed)} inputs ({', '.join(needed)}):"
            f" {_line(parameters, needed, image)}"
        )
    keyword = next((one.name for one in parameters if one.kind == one.KEYWORD_ONLY and one.name in needed), None)
    if keyword is None and not placed and more is None:
        raise ExportError(
            "export: the network's forward takes no input; expected one that takes images or export.inputs"
        )
    return Bound((image,), (keyword,))


def _bind_named(
    given: Sequence[Port], parameters: Sequence[Any], more: str | None, needed: Sequence[str], image: Port
) -> Bound:
    known = {one.name: one for one in parameters if one.kind not in _VARIABLE}
    anything = more is not None or any(one.kind == one.VAR_KEYWORD for one in parameters)
    for port in given:
        if port.name not in known and not anything:
            raise ExportError(f"export.inputs: the network's forward has no {port.name!r}: {choices(port.name, known)}")
    _refuse_missing([name for name in needed if name not in [port.name for port in given]], parameters, needed, image)
    order = list(known)
    ports = sorted(given, key=lambda port: order.index(port.name) if port.name in known else len(order))
    keywords: list[str | None] = []
    for place, port in enumerate(ports):
        kind = known[port.name].kind if port.name in known else None
        in_place = (
            order[: place + 1] == [one.name for one in ports[: place + 1]] and kind != inspect.Parameter.KEYWORD_ONLY
        )
        foreign = kind is None and more is not None
        keywords.append(None if in_place or foreign or kind == inspect.Parameter.POSITIONAL_ONLY else port.name)
    return Bound(tuple(ports), tuple(keywords))


def _refuse_missing(missing: Sequence[str], parameters: Sequence[Any], needed: Sequence[str], image: Port) -> None:
    if missing:
        raise ExportError(
            f"export.inputs: {', '.join(missing)} of the network's forward is missing:"
            f" {_line(parameters, needed, image)}"
        )


def _line(parameters: Sequence[Any], needed: Sequence[str], image: Port) -> str:
    names = needed or [one.name for one in parameters if one.kind not in _VARIABLE][:1]
    shapes = [f"{name}: {list(image.shape) if place == 0 else '[1, …]'}" for place, name in enumerate(names)]
    return (
        f"give their shapes, a batch of one, as export.inputs='{{{', '.join(shapes)}}}' (integers as {{shape: [1, 16],"
        " dtype: int64, high: 1000})"
    )


def _listed(parameters: Sequence[Any]) -> str:
    names = [one.name for one in parameters if one.kind not in _VARIABLE]
    return f"{len(names)} ({', '.join(names)})" if names else "none"


def first_channels(module: nn.Module) -> int | None:
    """What the network's first convolution of images takes."""
    return next((part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)), None)


def _parameters(module: nn.Module) -> list[Any]:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):  # compiled: it does not say
        return [inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)]


def flat_network(module: nn.Module, bound: Bound, found: Sequence[Leaf]) -> nn.Module:
    """The network that gives just the tensors of `found`: itself where it does so already."""
    plain = [leaf.path for leaf in found] == [()] and not any(bound.keywords)
    return module if plain else Flat(module, bound.keywords, [leaf.path for leaf in found])


def leaves(value: Any, path: Path = (), name: str = "") -> Iterator[Leaf]:
    """What is in tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Mapping):
        entries = [(key, f"{name}_{key}" if name else str(key), entry) for key, entry in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        entries = [(key, f"{name}_{key}" if name else key, getattr(value, key)) for key in value._fields]
    elif isinstance(value, (tuple, list)):
        entries = [(place, f"{name or 'output'}_{place}", entry) for place, entry in enumerate(value)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        entries = [(key, f"{name}_{key}" if name else key, getattr(value, key)) for key in fields]
    else:
        yield Leaf(path, name, value)
        return
    for key, own, entry in entries:
        yield from leaves(entry, (*path, key), own)


def output_ports(found: Sequence[Leaf], inputs: Sequence[Port]) -> tuple[Port, ...]:
    """The tensors of `found` with names that files can have, all different and none an input's."""
    taken, ports = {port.name for port in inputs}, []
    for leaf in found:
        shape, dtype = tuple(leaf.value.shape), str(leaf.value.dtype).removeprefix("torch.")
        name = re.sub(r"\W+", "_", leaf.name).strip("_")
        if len(found) == 1 and (not leaf.name or re.fullmatch(r"output(_0)+", leaf.name)):
            name = "logits" if len(shape) == 2 and leaf.value.is_floating_point() else "output"
        unique, number = name or "output", 1
        while unique in taken:
            unique, number = f"{name or 'output'}_out{number if number > 1 else ''}", number + 1
        taken.add(unique)
        ports.append(Port(unique, shape, dtype))
    return tuple(ports)


def is_tensor(leaf: Leaf) -> bool:
    """Whether a file can give it."""
    return isinstance(leaf.value, Tensor) and not torch.is_complex(leaf.value)
