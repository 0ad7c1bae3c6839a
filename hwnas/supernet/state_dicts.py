"""State dicts as people have them, taken out of what they are wrapped in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hwnas.errors import CheckpointError
from hwnas.supernet.file_kinds import own_description
from hwnas.supernet.weight_files import read_weights

__all__ = ["AROUND", "WRAPPERS", "plain_names", "read_state_dict", "unwrap"]

_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "net_state_dict", "module", "weights",
    "params", "state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema",
)  # fmt: skip
"""Under which keys people save weights, the trained ones before their moving averages."""

AROUND = ("module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Attributes under which torch and its helpers keep what they wrap."""

WRAPPERS = (*AROUND, "model", "net", "network")
"""Attributes that hold the network in what trains, parallelises or compiles it."""


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
        if len(first) > 1 or not first <= set(WRAPPERS) or any("." not in name for name in plain):
            break
        plain = {name.partition(".")[2]: value for name, value in plain.items()}
    return plain


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
