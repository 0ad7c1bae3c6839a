"""A plain torch module of the user's own, by import path."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hwnas.errors import ConfigError, ExportError, choices
from hwnas.export.passes import first_line
from hwnas.export.quiet import quiet

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_static", "load_module", "module_file", "module_name"]


def load_module(path: str, checkpoint: Path | None = None) -> nn.Module:
    """The network that `path` names, in eval mode: `package.module:name` or `file.py:name`.

    `name` is an `nn.Module`, a class of them or a function, both called without arguments. `checkpoint`: its state
    dict (see `hwnas.supernet.state_dicts`). Raises ConfigError where there
    is no such thing, CheckpointError for a state dict that does not fit.
    """
    from torch import nn

    place, name = _split(path)
    loaded = _load_file(Path(place)) if place.endswith(".py") else _import(place)
    if not hasattr(loaded, name):
        public = [key for key, value in vars(loaded).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"module={path}: {place} has no {name!r}: {choices(name, public)}")
    found: Any = getattr(loaded, name)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise ConfigError(f"module={path}: expected an nn.Module or a function that makes one, got {found!r:.80}")
        try:
            found = found()
        except Exception as error:  # the user's own code
            raise ConfigError(
                f"module={path}: calling it without arguments failed with {type(error).__name__}: {error}"
            ) from error
    if not isinstance(found, nn.Module):
        raise ConfigError(f"module={path}: expected an nn.Module, got {type(found).__name__}")
    if checkpoint is not None:
        _load_weights(found, checkpoint)
    return found.eval()


def check_static(module: nn.Module, example: Tensor) -> None:
    """Raise ExportError where the network can't be written down once and for all, as its exporters need it."""
    import torch
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        with quiet("torch.export"):
            torch.export.export(module, (example,), strict=False)
    except GuardOnDataDependentSymNode as error:
        raise ExportError(
            "export: the network's forward depends on the values in its input (an if, a loop or .item() on a tensor);"
            " expected a static network: choose with torch.where, or export the branches one by one"
        ) from error
    except Exception as error:  # whatever the user's code does that can't be traced
        raise ExportError(
            f"export: the network can't be traced ({type(error).__name__}: {first_line(error)}); expected torch"
            " operations on tensors of fixed shapes"
        ) from error


def module_name(path: str) -> str:
    """What follows the colon: the name of the network. Raises ConfigError where there is no colon."""
    return _split(path)[1]


def module_file(path: str) -> Path | None:
    """The file that a path of the form `file.py:name` names. Raises ConfigError where there is no colon."""
    place = _split(path)[0]
    return Path(place) if place.endswith(".py") else None


def _split(path: str) -> tuple[str, str]:
    place, colon, name = path.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ConfigError(f"module={path}: expected package.module:name or path/to/file.py:name")
    return place, name


def _import(name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):
            return importlib.import_module(name)
    except Exception as error:  # the user's own code
        raise ConfigError(
            f"module={name}: importing it failed with {type(error).__name__}: {error}; run hwnas where it can be"
            " imported, or give the path of the file, path/to/file.py:name"
        ) from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"module: no such file: {path}; expected path/to/file.py:name")
    spec = importlib.util.spec_from_file_location(f"hwnas_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"module={path}: expected a Python file")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # dataclasses and torch look a class's module up there
    try:
        with _importable(path.resolve().parent):
            spec.loader.exec_module(loaded)
    except Exception as error:  # the user's own code
        raise ConfigError(f"module={path}: running it failed with {type(error).__name__}: {error}") from error
    return loaded


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """What lies beside the module can be imported by it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _load_weights(module: nn.Module, path: Path) -> None:
    from hwnas.supernet.fit_weights import fit_state_dict
    from hwnas.supernet.state_dicts import read_state_dict

    fit_state_dict(module, read_state_dict(path), path)
