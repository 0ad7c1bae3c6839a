"""A plain torch module of the user's own, by import path."""

from __future__ import annotations

import importlib.util
import inspect
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwnas.errors import ConfigError, ExportError
from hwnas.export.module.reads import noted_reads
from hwnas.export.quiet import quiet
from hwnas.user_code.imports import imported_files, is_own
from hwnas.user_code.named import named, no_file, run_named, split_path
from hwnas.user_code.run import loaded_files, note_files
from hwnas.user_code.told import told

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_static", "load_module", "module_file", "module_files", "module_name", "module_title"]


def load_module(path: str, checkpoint: Path | None = None, seed: int = 0) -> nn.Module:
    """The network that `path` names, in eval mode: `package.module:name` or `file.py:name`.

    `name` is an `nn.Module`, a class of them or a function, both called without arguments. `checkpoint`: its state
    dict (see `hwnas.supernet.state_dicts`). Its code is run anew in each call, with `seed` for weights that it draws.
    Raises ConfigError where there is no such thing, or its code fails, CheckpointError for a state dict that does not
    fit.
    """
    import torch
    from torch import nn

    _, name = split_path("module", path)
    main = module_file(path)
    folders = [Path.cwd(), *([] if main is None else [main.resolve().parent])]
    with _settings_kept(), noted_reads(folders) as read:
        torch.manual_seed(seed)
        with quiet(f"module={path}"):
            loaded = run_named("module", path)
        found = named("module", path, loaded)
        if not isinstance(found, nn.Module):
            found = _call(path, name, found)
    note_files(file for file in read if is_own(str(file)))
    if not isinstance(found, nn.Module):
        raise ConfigError(f"module={path}: expected an nn.Module, got {type(found).__name__}")
    if checkpoint is not None:
        _load_weights(found, checkpoint)
    return found.eval()


def check_static(module: nn.Module, examples: Tensor | Sequence[Tensor]) -> None:
    """Raise ExportError where the network can't be written down once and for all, as its exporters need it.

    `examples`: its one input, or all of them.
    """
    import torch
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

    try:
        with quiet("torch.export"):
            inputs = (examples,) if isinstance(examples, torch.Tensor) else tuple(examples)
            torch.export.export(module, inputs, strict=False)
    except GuardOnDataDependentSymNode as error:
        raise ExportError(
            "export: the network's forward depends on the values in its input (an if, a loop or .item() on a tensor)"
            f"{told(error).place}; expected a static network: choose with torch.where, or export the branches one by"
            " one"
        ) from error
    except Exception as error:  # whatever the user's code does that can't be traced
        raise ExportError(
            f"export: the network can't be traced ({told(error)}); expected torch operations on tensors of fixed shapes"
        ) from error


def module_name(path: str) -> str:
    """What follows the colon: the name of the network. Raises ConfigError where there is no colon."""
    return split_path("module", path)[1]


def module_title(path: str) -> str:
    """The path as it is the same however its file is spelt: `my_net.py:make`, or `package.module:name`."""
    place, name = split_path("module", path)
    return f"{Path(place).name}:{name}" if place.endswith(".py") else path


def module_file(path: str) -> Path | None:
    """The file that the path means, as far as it is known without running it. Raises ConfigError for no path."""
    place = split_path("module", path)[0]
    if place.endswith(".py"):
        return Path(place)
    stem = Path.cwd().joinpath(*place.split("."))
    for file in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if file.is_file():
            return file
    try:
        spec = importlib.util.find_spec(place)
    except Exception:  # noqa: BLE001 - a package on the way is run, and may fail with anything
        return None
    return Path(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else None


def module_files(path: str) -> dict[str, Path]:
    """The files that the network is made of, the user's own, by their path from the first one's folder.

    What its code imports is read off its text, and what the last `load_module` has loaded and read is there too. Raises
    ConfigError where there is no such file.
    """
    main = module_file(path)
    if main is None:
        return {}
    if not main.is_file():
        raise no_file("module", path, main)
    main, place = main.resolve(), split_path("module", path)[0]
    roots = [main.parent]
    if not place.endswith(".py"):
        roots.append(main.parents[place.count(".") + (main.name == "__init__.py")])
    loaded = loaded_files()
    found = [*imported_files(main, roots), *(loaded if main in loaded else ())]
    files = dict.fromkeys([main, *(file for file in found if is_own(str(file)))])
    return {_from(main.parent, file): file for file in files}


@contextmanager
def _settings_kept() -> Iterator[None]:
    """What the user's code may set for the whole process is afterwards as it was."""
    import torch

    dtype, folder = torch.get_default_dtype(), Path.cwd()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            os.chdir(folder)


def _call(path: str, name: str, made_by: Any) -> Any:
    if not callable(made_by):
        raise ConfigError(f"module={path}: expected an nn.Module or a function that makes one, got {made_by!r:.80}")
    if needed := _needed_arguments(made_by):
        raise ConfigError(
            f"module={path}: {name} is called without arguments, and needs {', '.join(needed)}: give a function that"
            f" needs none, such as def make(): return {name}({', '.join(f'{argument}=…' for argument in needed)})"
        )
    try:
        with quiet(f"module={path}"):
            return made_by()
    except (Exception, SystemExit) as error:  # the user's own code
        raise ConfigError(f"module={path}: calling it without arguments failed with {told(error)}") from error


def _needed_arguments(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built in, and silent about what it takes
        return []
    return [
        one.name
        for one in parameters
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]


def _from(folder: Path, file: Path) -> str:
    return Path(os.path.relpath(file, folder)).as_posix()


def _load_weights(module: nn.Module, path: Path) -> None:
    from hwnas.supernet.fit_weights import fit_state_dict
    from hwnas.supernet.state_dicts import read_state_dict

    fit_state_dict(module, read_state_dict(path), path)
