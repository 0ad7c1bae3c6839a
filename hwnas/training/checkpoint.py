"""Trained networks and training states in safetensors files, with JSON in their header. Never pickle."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from hwnas.errors import CheckpointError, HwnasError
from hwnas.files import write_bytes
from hwnas.spaces import Space, space_from_dict
from hwnas.supernet.file_kinds import EMPTY, OWN, describe_file, is_foreign, own_description
from hwnas.supernet.published import is_ofa_checkpoint, load_ofa_checkpoint
from hwnas.supernet.single import SingleNetwork, TrainedNetwork
from hwnas.supernet.subnet import Subnet
from hwnas.supernet.supernet import Supernet

__all__ = ["describe_difference", "load_any", "load_supernet", "read_checkpoint", "save_supernet", "write_checkpoint"]

_SUPERNET, _SUBNET = "supernet", "subnet"


def save_supernet(path: Path, network: TrainedNetwork, metadata: Mapping[str, Any]) -> Path:
    """Write weights, the space's config and `metadata` (JSON-able: classes, preprocessing), atomically.

    Of a single network the file says its arch, and its kind is another.
    """
    header = {**metadata, "kind": _SUPERNET, "space": network.space.config(), "dropout": network.dropout.p}
    tensors = network.state_dict()
    if isinstance(network, SingleNetwork):
        header |= {"kind": _SUBNET, "arch": network.space.arch(network.genotype).to_dict()}
        tensors = network.network.state_dict()
    return write_checkpoint(path, dict(tensors), header)


def load_supernet(path: Path, expected_space: Mapping[str, Any] | None = None) -> tuple[TrainedNetwork, dict[str, Any]]:
    """What `save_supernet` wrote to `path`, in eval mode on the CPU, and its metadata.

    Raises CheckpointError for a missing or truncated file, for one of another kind, and for one whose space is not
    `expected_space` (a `Space.config()`), naming the first field that differs.
    """
    tensors, metadata = read_checkpoint(path)
    kind = metadata.get("kind")
    if kind not in (_SUPERNET, _SUBNET):
        raise CheckpointError(f"{path} holds {kind!r}, expected a {_SUPERNET!r} as `hwnas train` writes it")
    if expected_space is not None and (difference := describe_difference(expected_space, metadata["space"], "space")):
        raise CheckpointError(
            f"{path} is of another space: {difference}; choose the checkpoint's space, or train this one"
        )
    try:
        space, dropout = space_from_dict(metadata["space"]), metadata.get("dropout", 0.0)
        if kind == _SUPERNET:
            supernet = Supernet(space, dropout)
            supernet.load_state_dict(tensors)
            return supernet.eval(), metadata
        genotype = space.genotype(metadata["arch"])
        subnet = Subnet(space, genotype, dropout)
        subnet.load_state_dict(tensors)
        return SingleNetwork(space, genotype, subnet).eval(), metadata
    except (HwnasError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"{path} does not fit its own space ({reason}): train again") from error


def load_any(path: Path, space: Space) -> TrainedNetwork:
    """What `path` holds, in eval mode on the CPU: as `save_supernet` writes it, or a file that once-for-all published.

    Raises CheckpointError where it is neither, or not of `space`.
    """
    if is_ofa_checkpoint(path):
        return load_ofa_checkpoint(path, space)
    return load_supernet(path, space.config())[0]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Path:
    """Write tensors and JSON-able metadata as one safetensors file, atomically. Layouts become contiguous."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return write_bytes(path, save(plain, {OWN: json.dumps(metadata, allow_nan=False)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote. Raises CheckpointError for a missing, truncated or foreign file."""
    path = Path(path)
    if not path.is_file():
        found = "a folder is no checkpoint" if path.is_dir() else "no such checkpoint"
        raise CheckpointError(f"{found}: {path}; train one with `hwnas train`")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = json.loads(header[OWN])
    except (SafetensorError, OSError, struct.error, ValueError, KeyError) as error:
        raise CheckpointError(_not_own(path, error)) from error
    return tensors, metadata


def _not_own(path: Path, error: Exception) -> str:
    """What a file is that is no checkpoint of hwnas."""
    own, what = own_description(path), describe_file(path)
    if own is not None:
        kind = str(own.get("format")).removeprefix("hwnas ").rstrip(" 0123456789")
        return f"{path} holds hwnas's own {kind}, expected a network of hwnas train"
    if is_foreign(path):
        what = "safetensors that hwnas did not write"
    if what not in ("", "safetensors", EMPTY):
        return (
            f"{path} is no checkpoint of hwnas ({what}): expected one of hwnas train, or what once-for-all published; a"
            " network of your own is exported with hwnas export module=FILE.py:NAME checkpoint=…"
        )
    return f"{path} is truncated or no checkpoint of hwnas ({str(error)[:120]}): delete it and train again"


def describe_difference(expected: Any, found: Any, name: str) -> str:
    """Where two JSON-able values differ first, as `name.key: expected …, found …`; empty where they are equal."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in [*expected, *(key for key in found if key not in expected)]:
            if key not in expected or key not in found:
                return f"{name}.{key}: expected {expected.get(key, 'nothing')}, found {found.get(key, 'nothing')}"
            if difference := describe_difference(expected[key], found[key], f"{name}.{key}"):
                return difference
        return ""
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            if difference := describe_difference(one, other, f"{name}[{index}]"):
                return difference
        return ""
    return "" if expected == found else f"{name}: expected {expected}, found {found}"


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[Any, str]) -> dict[str, Tensor]:
    """An optimiser's state as `optimiser/<state>/<parameter name>`."""
    return {
        f"optimiser/{key}/{names[parameter]}": value
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> None:
    """Undo `optimiser_tensors` on a fresh optimiser."""
    for name, value in tensors.items():
        if name.startswith("optimiser/"):
            _, key, parameter_name = name.split("/", 2)
            parameter = parameters[parameter_name]
            # The layout of the parameter keeps the arithmetic, and so the last bit, as it was. Counts have none.
            like = parameter if value.shape == parameter.shape else value
            optimiser.state[parameter][key] = torch.empty_like(like, dtype=value.dtype).copy_(value)
