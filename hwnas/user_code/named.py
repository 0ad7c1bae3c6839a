"""What `file.py:name` or `package.module:name` means: the module run, and the thing in it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from hwnas.errors import ConfigError, choices
from hwnas.user_code.run import import_named, run_file, run_once
from hwnas.user_code.told import told

__all__ = ["named", "no_file", "run_named", "split_path"]


def split_path(setting: str, path: str) -> tuple[str, str]:
    """File or module, and name. Raises ConfigError, naming the `setting`, for another form."""
    place, colon, name = path.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise ConfigError(f"{setting}={path}: expected package.module:name or path/to/file.py:name")
    return place, name


def run_named(setting: str, path: str, content: str | None = None) -> ModuleType:
    """The module that `path` lies in, run anew, or once for each `content` of its file. Raises ConfigError where there
    is none, or its code fails.
    """
    place, _ = split_path(setting, path)
    is_file = place.endswith(".py")
    if is_file and not Path(place).is_file():
        raise no_file(setting, path, Path(place))
    try:
        if is_file:
            return run_file(Path(place)) if content is None else run_once(str(Path(place).resolve()), content)
        return import_named(place, Path.cwd())
    except (Exception, SystemExit) as error:  # the user's own code
        advice = (
            ""
            if is_file
            else "; run hwnas where it can be imported, or give the path of the file, path/to/file.py:name"
        )
        raise ConfigError(
            f"{setting}={path}: {'running' if is_file else 'importing'} it failed with {told(error)}{advice}"
        ) from error


def named(setting: str, path: str, module: ModuleType) -> Any:
    """What `path` names in `module`. Raises ConfigError, with what there is, where there is no such thing."""
    place, name = split_path(setting, path)
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ConfigError(f"{setting}={path}: {place} has no {name!r}: {choices(name, public)}")
    return getattr(module, name)


def no_file(setting: str, path: str, file: Path) -> ConfigError:
    """What is said where `file` does not exist, with the nearest name beside it."""
    near = choices(file.name, sorted(one.name for one in file.parent.glob("*.py"))) if file.parent.is_dir() else ""
    beside = f" ({near})" if near.startswith("did you mean") else ""
    return ConfigError(f"{setting}={path}: no such file: {file}{beside}; expected path/to/file.py:name")
