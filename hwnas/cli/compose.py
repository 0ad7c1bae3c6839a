"""Composing a command's configuration, with errors that name the key, the valid choices and the next step."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hwnas.cli.arguments import quoted
from hwnas.cli.commands import COMMANDS, COMMON_KEYS
from hwnas.cli.config import CONFIG_FOLDER
from hwnas.cli.experiments import is_stored
from hwnas.data.config import PRESETS
from hwnas.errors import ConfigError, choices

__all__ = [
    "command_help",
    "compose_config",
    "compose_jobs",
    "group_names",
    "run_folder",
    "swept_keys",
    "tree",
]

_PRESETS = "data/augment"
_LAUNCHERS = "hydra/launcher"
_INSTALLABLE = ("joblib", "ray", "submitit")


def compose_config(command: str | None, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration of a command; None: of all. Raises ConfigError, one line, for whatever is wrong."""
    parsed = [_parsed(override) for override in overrides]
    for override in parsed:
        _check_group_choice(override)
        if command is not None:
            _check_used(command, override)
    try:
        return tree([*overrides, f"hydra.job.name={command or 'hwnas'}"])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(parsed, error)) from error


def compose_jobs(command: str, overrides: Sequence[str]) -> list[tuple[list[str], DictConfig]]:
    """The jobs of a sweep: for each what it overrides and its configuration. Raises ConfigError for any of them."""
    values = []
    for override in map(_parsed, overrides):
        if override.is_sweep_override():
            values.append([f"{override.key_or_group}={value}" for value in override.sweep_string_iterator()])
        else:
            values.append([str(override.input_line)])
    return [(list(job), compose_config(command, job)) for job in product(*values)]


def swept_keys(overrides: Sequence[str]) -> list[str]:
    """The keys of `overrides` that stand for several values."""
    return [override.key_or_group for override in map(_parsed, overrides) if override.is_sweep_override()]


def run_folder(command: str, overrides: Sequence[str]) -> Path:
    """Where a run with these overrides, `hydra.run.dir` among them, writes."""
    with _initialised():
        config = compose("config", [*overrides, f"hydra.job.name={command}"], return_hydra_config=True)
    return Path(config.hydra.run.dir)


def _parsed(override: str) -> Override:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException as error:
        key, _, value = override.partition("=")
        how = shlex.quote(f"{key}={quoted(value)}")
        raise ConfigError(
            f"{key}: can't read {value!r}: close its brackets and quotes, or, if it is text, quote it: {how}"
        ) from error


def command_help(command: str) -> str:
    """The text of `hwnas <command> --help`: the keys that the command uses, with their defaults."""
    entry = COMMANDS[command]
    config = tree([])
    used = {key: config[key] for key in entry.keys if key in config}
    groups = [
        f"  {group.replace('/', '.')}: {', '.join(_options(group))}"
        for group in group_names()
        if group.partition("/")[0] in (*entry.keys, "experiment")
    ]
    lines = [
        f"usage: hwnas {command} {f'{entry.positional.upper()} ' if entry.positional else ''}[key=value …]",
        "",
        f"{entry.summary}.",
        "",
        "choices (key=choice):",
        *groups,
        "",
        "settings and their defaults (key=value, nested as a.b=value):",
        *_setting_lines(used),
        "",
        "hydra.run.dir=FOLDER moves the output; -m runs several values; HYDRA_FULL_ERROR=1 shows tracebacks.",
    ]
    return "\n".join(lines)


def _setting_lines(settings: Any, indent: str = "  ") -> list[str]:
    """One line a setting, as YAML; one line an entry where the entries of a list have settings themselves."""
    lines = []
    for key, value in settings.items():
        if isinstance(value, DictConfig):
            lines += [f"{indent}{key}:", *_setting_lines(value, indent + "  ")]
        elif isinstance(value, ListConfig) and any(isinstance(entry, DictConfig) for entry in value):
            lines += [f"{indent}{key}:", *(f"{indent}- {_on_one_line(entry)}" for entry in value)]
        else:
            lines.append(f"{indent}{key}: {_on_one_line(value)}")
    return lines


def _on_one_line(value: Any) -> str:
    plain = OmegaConf.to_container(value) if isinstance(value, (DictConfig, ListConfig)) else value
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000).split("\n...")[0].strip()


def tree(overrides: Sequence[str]) -> DictConfig:
    """The whole configuration with `overrides`. Raises Hydra's errors."""
    with _initialised():
        return compose("config", overrides=list(overrides))


def _initialised() -> AbstractContextManager[None]:
    return initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3")


def group_names() -> list[str]:
    """The parts of the configuration that are chosen by name: among files, and data's among presets."""
    return sorted([*(folder.name for folder in CONFIG_FOLDER.iterdir() if folder.is_dir()), _PRESETS])


def _options(group: str) -> list[str]:
    if group == _PRESETS:
        return list(PRESETS)
    return sorted(Path(file).stem for file in (CONFIG_FOLDER / group).glob("*.yaml"))


def _launchers() -> list[str]:
    """Which of Hydra's launchers are installed."""
    with _initialised():
        return list(GlobalHydra.instance().config_loader().get_group_options(_LAUNCHERS))


def _is_option(group: str, choice: str | None) -> bool:
    return choice in _options(group) or (group == "experiment" and is_stored(choice or ""))


def _check_group_choice(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if key in group_names() and (value is None or isinstance(value, str)) and not _is_option(key, value):
        raise ConfigError(f"{key.replace('/', '.')}={value}: {choices(value, _options(key))}")


def _check_used(command: str, override: Override) -> None:
    top = re.split("[.@/]", override.key_or_group)[0]
    used = (*COMMON_KEYS, *COMMANDS[command].keys)
    if top in used or top.startswith("hydra"):
        return
    users = [name for name, entry in COMMANDS.items() if top in entry.keys]
    note = f" (it belongs to hwnas {', '.join(users)})" if users else ""
    raise ConfigError(f"hwnas {command} has no setting {override.key_or_group!r}{note}: {choices(top, used)}")


def _explain(overrides: Sequence[Override], error: Exception) -> str:
    """The first override whose key does not exist, with its siblings; else the innermost cause and its key."""
    if f"Could not override '{_PRESETS}'" in str(error):
        return "data.augment is for images to learn from: choose data=image_folder, imagenet, fashion_mnist or digits"
    for override in overrides:
        if override.key_or_group == _LAUNCHERS and (value := str(override.value())) not in (installed := _launchers()):
            package = value.partition("_")[0]
            install = f"; or pip install hydra-{package}-launcher" if package in _INSTALLABLE else ""
            return f"{_LAUNCHERS}={value}: not one of Hydra's launchers here: {choices(value, installed)}{install}"
    groups = [f"{o.key_or_group}={o.value()}" for o in overrides if o.key_or_group in group_names()]
    try:
        known = tree(groups)
    except (HydraException, OmegaConfBaseException):  # the choices don't go together: the cause says why
        known, overrides = None, ()
    for override in overrides:
        if override.key_or_group in group_names() or override.key_or_group.startswith("hydra"):
            continue
        node: Any = known
        parts = override.key_or_group.split(".")
        for depth, part in enumerate(parts):
            if isinstance(node, ListConfig):
                name = ".".join(parts[:depth])
                return f"{override.key_or_group}: {name} is a list, which is set as a whole: {name}=[…]"
            if not isinstance(node, DictConfig):
                break
            if part not in node:
                return f"no setting {override.key_or_group!r}: {choices(part, [str(key) for key in node])}"
            node = None if OmegaConf.is_missing(node, part) else node[part]
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    return f"{key}: {_first_line(cause)}" if key else _first_line(cause)


def _first_line(error: BaseException) -> str:
    first, *rest = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return f"{first} {rest[0]}" if first.endswith(":") and rest else first
