"""State dicts as people have them: taken out of what they are wrapped in, and fitted to a module by name and shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwnas.errors import CheckpointError
from hwnas.supernet.file_kinds import own_description
from hwnas.supernet.weight_files import read_weights

__all__ = ["fit_state_dict", "plain_names", "read_state_dict", "unwrap"]

_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "net_state_dict", "module", "weights",
    "params", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema",
)  # fmt: skip
"""Under which keys people save weights, the trained ones before their moving averages."""

_WRAPPERS = ("module", "_orig_mod", "_forward_module", "model", "net", "network")
"""Attributes that hold the network in what trains, parallelises or compiles it."""

_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path | str) -> dict[str, Tensor]:
    """The weights in `path`, a safetensors file or one of `torch.save`, by the names that they have there.

    They may lie under `state_dict`, `model` and the like, at any depth, beside anything that is plain data; where
    trained weights and their moving averages are there, the trained ones are taken. Nothing in the file is run.

    Raises CheckpointError where there are none, where several could be meant, and as `read_weights`.
    """
    own = own_description(path)
    if own is not None:
        kind = str(own.get("kind") or own.get("format")).removeprefix("hwnas ").rstrip(" 0123456789")
        space = own.get("space")
        of = f" of space {space['name']}" if isinstance(space, dict) and "name" in space else ""
        raise CheckpointError(
            f"{path} is no state dict of a module: it holds hwnas's own {kind}{of}, expected a torch module's;"
            " what hwnas trained is exported without module=…"
        )
    try:
        return unwrap(read_weights(path))
    except _WrapperError as error:
        raise CheckpointError(f"{path} is no state dict: {error}") from error


def unwrap(content: Any) -> dict[str, Tensor]:
    """The weights in what a file holds. Raises CheckpointError, without the file's name, as `read_state_dict`."""
    found = _weights(content)
    if found is None:
        raise _WrapperError(
            f"expected a mapping from names to tensors, such as model.state_dict(), got {_describe(content)}"
        )
    return found


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without `module.`, `_orig_mod.`, `model.` and the like, where these stand before every name."""
    plain = dict(tensors)
    while plain:
        first = {name.partition(".")[0] for name in plain}
        if len(first) > 1 or not first <= set(_WRAPPERS) or any("." not in name for name in plain):
            break
        plain = {name.partition(".")[2]: value for name, value in plain.items()}
    return plain


@torch.no_grad()
def fit_state_dict(module: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load `tensors`, which `path` holds, into `module`: all of its weights, by name and shape, or none.

    The module may lie within the network that was saved (`module.`, `model.`, any prefix). Counters of BatchNorm may be
    missing or left over. Raises CheckpointError, one line, that counts what is missing, unexpected or of another shape.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    prefixes = _prefixes(own, tensors)
    fitting = {prefix: found for prefix in prefixes if (found := _within(own, tensors, prefix)) is not None}
    if not fitting:
        if _loads_as_it_is(module, tensors) or _loads_as_it_is(module, plain_names(tensors)):
            return
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


class _WrapperError(CheckpointError):
    """What is wrong with a file's content, to be said with its path."""


def _weights(content: Any) -> dict[str, Tensor] | None:
    if not isinstance(content, Mapping):
        return None
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors and all(
        isinstance(value, Tensor) or str(key).endswith("_extra_state") for key, value in content.items()
    ):
        return tensors
    held = {key: found for key, value in content.items() if (found := _weights(value)) is not None}
    if known := [key for key in _KEYS if key in held]:
        return held[known[0]]
    named = {key: found for key, found in held.items() if isinstance(key, str) and "optim" not in key}
    named = {key: found for key, found in named.items() if any("." in name for name in found)} or named
    if len(named) == 1:
        return next(iter(named.values()))
    if named:
        raise _WrapperError(
            f"weights are under {', '.join(map(repr, named))}, expected one state dict: save the one that is meant,"
            f" torch.save(checkpoint[{next(iter(named))!r}], PATH)"
        )
    return tensors or None


def _describe(content: Any) -> str:
    if isinstance(content, Tensor):
        return f"a tensor of shape {list(content.shape)}"
    if isinstance(content, Mapping):
        if {"state", "param_groups"} <= set(content):
            return "the state of an optimiser"
        keys = ", ".join(repr(key) for key in list(content)[:5])
        return f"a mapping without them (its keys: {keys}{', …' if len(content) > 5 else ''})" if content else "none"
    return f"a {type(content).__name__}"


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
    return (
        found
        if all(_of_shape(value, own[name]) and _of_kind(value, own[name]) for name, value in found.items())
        else None
    )


def _chosen(fitting: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """The prefix to take: the network itself, or what only wraps it, before a part of a larger one; None for a tie."""
    wrapping = {prefix for prefix in fitting if set(prefix.split(".")[:-1]) <= set(_WRAPPERS)}
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
