"""State dicts fitted to a module, by name, shape and kind of number: all of it or nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from hwnas.errors import CheckpointError
from hwnas.supernet.state_dicts import AROUND, WRAPPERS, plain_names

__all__ = ["fit_state_dict"]

_COUNTER = "num_batches_tracked"


@torch.no_grad()
def fit_state_dict(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load `tensors`, which `path` holds, into `module`: all of its weights, by name and shape, or none.

    The module may lie within the network that was saved (`module.`, `model.`, any prefix). Counters of BatchNorm may be
    missing or left over. Raises CheckpointError, one line, that counts what is missing, unexpected or of another shape.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    fitting, prefixes = _fitting(own, tensors)
    if not fitting and (_loads_as_it_is(module, tensors) or _loads_as_it_is(module, plain_names(tensors))):
        return
    if not fitting:
        inner = _without_wrappers(tensors)
        found, places = _fitting(own, inner)
        if max(places.values(), default=0) > max(prefixes.values(), default=0):
            fitting, prefixes, tensors = found, places, inner
    if not fitting:
        best = max(prefixes, key=prefixes.__getitem__, default="")
        nearest = {name.removeprefix(best): value for name, value in tensors.items() if name.startswith(best)}
        raise CheckpointError(f"{path} is no state dict of this module: {_difference(own, nearest)}")
    prefix = _chosen(fitting)
    if prefix is None:
        raise CheckpointError(
            f"{path} is no state dict of this module alone: it fits under {' and under '.join(sorted(fitting)[:4])};"
            " save the one that is meant: torch.save(model.PART.state_dict(), PATH)"
        )
    state = module.state_dict()  # its metadata says that its counters are as they should be
    state.update(fitting[prefix])
    try:
        module.load_state_dict(state)
    except RuntimeError as error:  # of the module's own hooks
        raise CheckpointError(
            f"{path} is no state dict of this module ({' '.join(str(error).split())[:200]})"
        ) from error


def _without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same under names without those of wrappers, which may be around any part of a network."""
    found = {".".join(part for part in name.split(".") if part not in AROUND): value for name, value in tensors.items()}
    return found if len(found) == len(tensors) else dict(tensors)


def _fitting(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, int]]:
    """What is all of the module, by what stands before its names; and `_prefixes`."""
    prefixes = _prefixes(own, tensors)
    found = {prefix: under for prefix in prefixes if (under := _within(own, tensors, prefix)) is not None}
    return found, prefixes


def _prefixes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """What stands before the module's names in the file, and before how many of them."""
    counts: dict[str, int] = {}
    for name in tensors:
        starts = [0, *(match.end() for match in re.finditer(r"\.", name))]
        for prefix in (name[:start] for start in starts if name[start:] in own and not name.endswith(_COUNTER)):
            counts[prefix] = counts.get(prefix, 0) + 1
    return counts


def _within(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor] | None:
    """The tensors under `prefix`, where they are the module's, each of its shape, and none beside them."""
    under = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    extra, missing = set(under) - set(own), set(own) - set(under)
    if not all(name.endswith(_COUNTER) for name in extra | missing):
        return None
    found = {name: value for name, value in under.items() if name in own}
    fits = all(_of_shape(value, own[name]) and _of_kind(value, own[name]) for name, value in found.items())
    return found if fits else None


def _chosen(fitting: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The prefix to take: the network itself, or what only wraps it, before a part of a larger one; None for a tie."""
    wrapping = {prefix for prefix in fitting if set(prefix.split(".")[:-1]) <= set(WRAPPERS)}
    for preferred in ({""} & set(fitting), wrapping, set(fitting)):
        if preferred:
            first, *others = sorted(preferred)
            same = all(
                torch.equal(fitting[first][name], fitting[other][name]) for other in others for name in fitting[first]
            )
            return first if same else None
    return None


def _of_shape(value: Tensor, own: Tensor) -> bool:
    return nn.parameter.is_lazy(own) or value.shape == own.shape


def _of_kind(value: Tensor, own: Tensor) -> bool:
    """Whether both are real, whole or complex numbers: torch would take the codes of int8 for weights."""
    return (value.is_floating_point(), value.is_complex()) == (own.is_floating_point(), own.is_complex())


def _loads_as_it_is(module: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the module takes the tensors by what it knows itself, such as former names; else it stays as it was."""
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    if not all(_of_kind(value, state[name]) for name, value in tensors.items() if name in state):
        return False
    before = {name: value.clone() for name, value in state.items() if not nn.parameter.is_lazy(value)}
    try:
        # Not by a method of the module's own, which may take a part of them for the whole.
        nn.Module.load_state_dict(module, dict(tensors))
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        nn.Module.load_state_dict(module, before, strict=False)
        return False
    return True


def _difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    missing = [name for name in own if name not in given and not name.endswith(_COUNTER)]
    extra = [name for name in given if name not in own and not name.endswith(_COUNTER)]
    shapes = [name for name, value in own.items() if name in given and not _of_shape(given[name], value)]
    if not own or not given:
        return f"{len(given)} weights, expected {len(own)}"
    if len(missing) == sum(not name.endswith(_COUNTER) for name in own):
        return (
            f"none of its {len(given)} names is one of the module's {len(own)}: expected such as {next(iter(own))}, got"
            f" {next(iter(given))}"
        )
    differing = (("missing", missing), ("unexpected", extra))
    parts = [f"{len(names)} {what} (first {names[0]})" for what, names in differing if names]
    if shapes:
        both = [list(values[shapes[0]].shape) for values in (own, given)]
        parts.append(f"{len(shapes)} of another shape (first {shapes[0]}: expected {both[0]}, got {both[1]})")
    if kinds := [name for name, value in own.items() if name in given and not _of_kind(given[name], value)]:
        wanted, got = (str(values[kinds[0]].dtype).removeprefix("torch.") for values in (own, given))
        parts.append(f"{len(kinds)} of another kind of number (first {kinds[0]}: expected {wanted}, got {got})")
    return "keys: " + "; ".join(parts) + _classes(own, given, shapes, missing or extra)


def _classes(own: Mapping[str, Tensor], given: Mapping[str, Tensor], shapes: list[str], other: list[str]) -> str:
    """A hint where nothing but the number of outputs differs: that of an inner layer is the next one's of inputs."""
    pairs = [(own[name].shape, given[name].shape) for name in shapes]
    if other or not pairs or any(len(one) != len(two) or not one or one[1:] != two[1:] for one, two in pairs):
        return ""
    if len({(one[0], two[0]) for one, two in pairs}) > 1:
        return ""
    expected, classes = pairs[0][0][0], pairs[0][1][0]
    return f": the checkpoint looks like one of {classes} classes, the module has {expected}; make it with {classes}"
